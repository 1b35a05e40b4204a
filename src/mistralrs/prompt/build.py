"""A request becomes a Prompt: messages rendered, text tokenized, rules checked."""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mistralrs.api.errors import ContextLengthError, RequestError, TemplateError
from mistralrs.api.prompt import Prompt
from mistralrs.prompt import rules
from mistralrs.prompt.messages import (
    Message,
    as_object,
    as_text,
    builtin_tools,
    normalize,
    parse_tools,
    with_arguments,
)
from mistralrs.prompt.template import ChatTemplate
from mistralrs.prompt.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest

EFFORTS = ("low", "medium", "high", "xhigh")
OFF = ("off", "none")


@dataclass(frozen=True)
class Prompter:
    """Builds the prompts of one model. One instance serves any number of threads."""

    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    eos: frozenset[int] = frozenset()
    context: int | None = None  # tokens; None is unlimited
    seed: int = 0  # for requests that name none

    def chat(self, request: "ChatCompletionRequest") -> Prompt:
        """Render the messages and tokenize them; the template brings its own special tokens."""
        text = self.render(request)
        tokens = self.tokenizer.encode(text, special=False)
        return self._prompt(request, text, tokens, rules.top_logprobs(request))

    def completion(self, request: "CompletionRequest") -> Prompt:
        """Tokenize the prompt as it is, with the special tokens that frame a text."""
        if request.best_of is not None and request.best_of < 1:
            raise RequestError(f"best_of must be at least 1, not {request.best_of}")
        ranked = request.best_of is not None and request.n_choices > 1
        tokens = self.tokenizer.encode(request.prompt) if request.prompt else []
        return self._prompt(request, request.prompt, tokens, 0 if ranked else None)

    def render(self, request: "ChatCompletionRequest") -> str:
        """Return the text of a chat request's prompt."""
        if self.template is None:
            raise TemplateError(
                "this model has no chat template; send a CompletionRequest, or pass a template file with "
                "Runner(chat_template=...)"
            )
        messages = normalize(request.messages)
        variables = template_variables(request)
        parsed = with_arguments(messages, as_object)
        try:
            return self.template.render(parsed, **variables)
        except TemplateError:  # some templates concatenate the arguments of a call as text
            if parsed == (spelled := with_arguments(messages, as_text)):
                raise
            return self._respell(spelled, variables)

    def _respell(self, messages: list[Message], variables: dict[str, Any]) -> str:
        assert self.template is not None
        return self.template.render(messages, **variables)

    def _prompt(self, request: Any, text: str, tokens: list[int], logprobs: int | None) -> Prompt:
        if not tokens:
            raise RequestError("the prompt is empty; send at least one character")
        seed = getattr(request, "seed", None)
        ids, texts = rules.stops(request, self.tokenizer)
        return Prompt(
            tokens=tuple(fit(tokens, self.context, request.max_tokens, request.truncate_sequence)),
            sampling=rules.sampling(
                request, self.tokenizer, logprobs, self.seed if seed is None else seed
            ),
            max_tokens=request.max_tokens,
            stop_ids=ids if getattr(request, "ignore_eos", False) else ids | self.eos,
            stop_texts=texts,
            n=request.n_choices,
            text=text,
        )


def fit(
    tokens: list[int], context: int | None, max_tokens: int | None, truncate: bool
) -> list[int]:
    """Return the tokens, or their end where the prompt and `max_tokens` exceed the context.

    Raises ContextLengthError for a longer prompt when `truncate` is off.
    """
    if context is None or len(tokens) <= context:
        return tokens
    if not truncate:
        raise ContextLengthError(
            f"the prompt has {len(tokens)} tokens, but the maximum length of this model is {context}; "
            "shorten it, or set truncate_sequence=True to keep its end"
        )
    reserve = 1 if max_tokens is None else min(max_tokens, context)
    return tokens[-max(context - reserve, 1) :]


def template_variables(request: "ChatCompletionRequest") -> dict[str, Any]:
    """Return the variables of a chat template beside the messages and special tokens.

    An unset enable_thinking is True and an unset reasoning_effort is "medium"; transformers leaves both
    undefined, so templates that test `is defined` can render differently there.
    """
    thinking, effort = thinking_and_effort(request.enable_thinking, request.reasoning_effort)
    return {
        "enable_thinking": thinking,
        "reasoning_effort": effort,
        "date_string": datetime.now(timezone.utc).strftime("%d, %B, %Y"),
        **_tool_variables(request),
    }


def thinking_and_effort(thinking: bool | None, effort: str | None) -> tuple[bool, str]:
    """Return both settings filled in. Raises RequestError when they contradict each other."""
    word = "medium" if effort is None else str(effort).strip().lower()
    if word in OFF:
        if thinking:
            raise RequestError(
                f'reasoning_effort="{word}" contradicts enable_thinking=True; give one of them'
            )
        return False, "none"
    if word not in EFFORTS:
        raise RequestError(
            f"reasoning_effort must be one of {', '.join(EFFORTS + OFF)}, not {effort!r}"
        )
    return thinking is not False, word


def _tool_variables(request: "ChatCompletionRequest") -> dict[str, Any]:
    """Return the tools under every name that templates read; nothing when none are offered."""
    tools = parse_tools(request.tool_schemas)
    if not tools or getattr(request.tool_choice, "name", request.tool_choice) == "NoTools":
        return {}
    builtin = builtin_tools(tools)
    return {"tools": tools, "xml_tools": tools, **({"builtin_tools": builtin} if builtin else {})}
