"""Requests. They are checked when they are made, before any work, and never change afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mistralrs.api import answer, check, tools
from mistralrs.api.agent import ApprovalCallback, ShellSkillMount
from mistralrs.api.enums import AgentPermission, CodeExecutionPermission, ToolChoice
from mistralrs.api.errors import GrammarError, RequestError, RequestTypeError
from mistralrs.api.files import InputFile, RequestedFile
from mistralrs.api.lora import LoraAdapterGeneration
from mistralrs.api.messages import messages
from mistralrs.api.options import WebSearchOptions
from mistralrs.api.strict import strict

Chosen: TypeAlias = ToolChoice | str | Mapping[str, Any]
MOST = 1024  # continuations of one request
LARGE = 1e6  # far beyond what changes a distribution; logits stay finite in float32
BIAS = 1e30  # forces a token, and below zero bans it


@strict
@dataclass(frozen=True)
class ChatCompletionRequest:
    """Messages, which the model's chat template turns into a prompt, and how to continue them."""

    messages: str | Sequence[Mapping[str, Any]]
    model: str = "default"
    logprobs: bool = False
    n_choices: int = 1
    logit_bias: Mapping[int, float] | None = None  # token id -> added to its logit
    top_logprobs: int | None = None
    max_tokens: int | None = None  # None: up to the context length
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_seqs: Sequence[str] | None = None
    temperature: float | None = None  # 0 is greedy
    top_p: float | None = None
    top_k: int | None = None  # 0 and below are off
    stream: bool = False
    grammar: str | None = None
    grammar_type: str | None = None  # regex, lark, json_schema or llguidance
    min_p: float | None = None
    tool_schemas: Sequence[str] | None = None  # one JSON document for every tool
    tool_choice: Chosen | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_sequence_breakers: Sequence[str] | None = None
    web_search_options: WebSearchOptions | None = None
    enable_thinking: bool | None = None
    truncate_sequence: bool = False
    reasoning_effort: str | None = None  # off, low, medium, high or xhigh
    max_tool_rounds: int | None = None
    tool_dispatch_url: str | None = None
    enable_code_execution: bool = False
    enable_shell: bool = False
    shell_skills: Sequence[ShellSkillMount] | None = None
    agent_permission: AgentPermission | None = None
    agent_approval_callback: ApprovalCallback | None = None
    code_execution_permission: CodeExecutionPermission | None = None
    session_id: str | None = None
    files: Sequence[RequestedFile] | None = None
    input_files: Sequence[InputFile] | None = None
    ignore_eos: bool = False
    adapter: str | LoraAdapterGeneration | None = field(default=None, kw_only=True)
    adapters: Sequence[str] | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)  # None: the engine draws one
    # a pydantic model, dataclass or other type, or as in the OpenAI API; fills grammar and grammar_type
    response_format: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check.apply(self, _SHARED | _CHAT)
        _apply_format(self)
        _check_together(self)
        _check_thinking(self.reasoning_effort, self.enable_thinking)


@strict
@dataclass(frozen=True)
class CompletionRequest:
    """A text, which is continued without a chat template."""

    prompt: str
    model: str = "default"
    best_of: int | None = 1
    echo_prompt: bool = False
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    max_tokens: int | None = None
    n_choices: int = 1
    stop_seqs: Sequence[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    suffix: str | None = None  # put behind the generated text
    top_k: int | None = None
    grammar: str | None = None
    grammar_type: str | None = None
    min_p: float | None = None
    tool_schemas: Sequence[str] | None = None
    tool_choice: Chosen | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_sequence_breakers: Sequence[str] | None = None
    truncate_sequence: bool = False
    ignore_eos: bool = False
    adapter: str | LoraAdapterGeneration | None = field(default=None, kw_only=True)
    adapters: Sequence[str] | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check.apply(self, _SHARED)
        _check_together(self)

    @property
    def candidates(self) -> int:
        """How many continuations are generated."""
        return max(self.n_choices, self.best_of or 1)

    @property
    def kept(self) -> int:
        """How many of them are returned, most likely first; best_of = 1 keeps all of n_choices."""
        best_of = self.best_of or 1
        return self.n_choices if best_of == 1 else min(best_of, self.n_choices)


@strict
@dataclass(frozen=True)
class EmbeddingRequest:
    """One or several inputs, as text or as token ids, each of which becomes one vector."""

    input: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
    truncate_sequence: bool = False

    def __post_init__(self) -> None:
        check.apply(self, {"input": _embedding_input, "truncate_sequence": check.flag})


def _apply_format(request: ChatCompletionRequest) -> None:
    if request.response_format is None:
        return
    if request.grammar is not None or request.grammar_type is not None:
        raise GrammarError("response_format and grammar exclude each other; give one of them")
    grammar = answer.json_schema(request.response_format)
    if grammar is not None:
        object.__setattr__(request, "grammar", grammar)
        object.__setattr__(request, "grammar_type", "json_schema")


def _check_together(request: ChatCompletionRequest | CompletionRequest) -> None:
    if request.grammar is not None and request.grammar_type is None:
        raise GrammarError("grammar: is given without grammar_type; give both, or none")
    if request.grammar is None and request.grammar_type is not None:
        raise GrammarError("grammar_type: is given without grammar; give both, or none")
    if request.grammar is not None and request.grammar_type in ("json_schema", "llguidance"):
        _check_json(request.grammar)
    if request.adapter is not None and request.adapters is not None:
        raise RequestError("adapter and adapters exclude each other; give one adapter, or a list")


def _check_json(grammar: str) -> None:
    try:
        value = json.loads(grammar)
    except ValueError as error:
        raise GrammarError(f"grammar: is not valid JSON ({error})") from None
    check.text("grammar", json.dumps(value, ensure_ascii=False))


def _check_thinking(effort: str | None, enable: bool | None) -> None:
    if effort is not None and enable is not None and enable == (effort == "off"):
        fix = "leave enable_thinking out" if enable else "leave one of them out"
        raise RequestError(
            f"reasoning_effort={effort!r} contradicts enable_thinking={enable}; {fix}"
        )


def _embedding_input(where: str, value: Any) -> str | list[Any]:
    if isinstance(value, str):
        return value
    if not isinstance(value, (list, tuple)):
        raise _not_embeddable(where, value)
    if not value:
        raise RequestError(f"{where}: is empty; give at least one text or one token id")
    if all(isinstance(item, str) for item in value):
        return list(value)
    if all(isinstance(item, (list, tuple)) for item in value):
        return [_tokens(f"{where}[{i}]", item) for i, item in enumerate(value)]
    return _tokens(where, value)


def _tokens(where: str, value: Sequence[Any]) -> list[int]:
    if not value:
        raise RequestError(f"{where}: is empty; give at least one token id")
    if not all(isinstance(t, int) and not isinstance(t, bool) for t in value):
        raise _not_embeddable(where, value)
    for i, token in enumerate(value):
        if not 0 <= token < 1 << 32:
            raise RequestError(f"{where}[{i}]: {token} is not a token id (0 to 4294967295)")
    return list(value)


def _not_embeddable(where: str, value: Any) -> RequestTypeError:
    return check.wrong_type(where, "a string, list[str], list[int] or list[list[int]]", value)


def _json_text(where: str, value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, Mapping)
        else check.text(where, value)
    )


def _effort(where: str, value: Any) -> str:
    word = check.one_of("off", "none", "low", "medium", "high", "xhigh")(where, value)
    return "off" if word == "none" else word


def _token_id(where: str, value: Any) -> Any:
    digits = isinstance(value, str) and value.isdecimal()  # JSON has no other keys than strings
    return check.count(0)(where, int(value) if digits else value)


def _adapter(where: str, value: Any) -> str | LoraAdapterGeneration:
    return value if isinstance(value, LoraAdapterGeneration) else check.name(where, value)


_SHARED: dict[str, check.Check] = {
    "prompt": check.text,
    "model": check.name,
    "best_of": check.count(1, MOST),
    "echo_prompt": check.flag,
    "suffix": check.text,
    "n_choices": check.count(1, MOST),
    "logit_bias": check.table(_token_id, check.number(-BIAS, BIAS)),
    "max_tokens": check.count(1),
    "presence_penalty": check.number(-LARGE, LARGE),
    "frequency_penalty": check.number(-LARGE, LARGE),
    "repetition_penalty": check.number(1 / LARGE, LARGE, above=0),
    "stop_seqs": check.names,
    "temperature": check.number(0, LARGE),
    "top_p": check.number(0, 1),
    "top_k": check.count(),
    "min_p": check.number(0, 1),
    "grammar": _json_text,
    "grammar_type": check.one_of("regex", "lark", "json_schema", "llguidance"),
    "tool_schemas": tools.schemas,
    "tool_choice": tools.choice,
    "dry_multiplier": check.number(0, LARGE),
    "dry_base": check.number(1 / LARGE, LARGE, above=0),
    "dry_allowed_length": check.count(0),
    "dry_sequence_breakers": check.names,
    "truncate_sequence": check.flag,
    "ignore_eos": check.flag,
    "adapter": _adapter,
    "adapters": check.names,
    "seed": check.count(),
}
_CHAT: dict[str, check.Check] = {
    "messages": messages,
    "logprobs": check.flag,
    "top_logprobs": check.count(0),
    "response_format": answer.response_format,
    "stream": check.flag,
    "web_search_options": check.instance(WebSearchOptions),
    "enable_thinking": check.flag,
    "reasoning_effort": _effort,
    "max_tool_rounds": check.count(0, 256),
    "tool_dispatch_url": check.url(),
    "enable_code_execution": check.flag,
    "enable_shell": check.flag,
    "shell_skills": check.items(check.instance(ShellSkillMount)),
    "agent_permission": check.choice(AgentPermission),
    "agent_approval_callback": check.function,
    "code_execution_permission": check.choice(CodeExecutionPermission),
    "session_id": check.name,
    "files": check.items(check.instance(RequestedFile)),
    "input_files": check.items(check.instance(InputFile)),
}
