"""A conversation with tools, apart from who waits for what: it takes what the model says and what tools return."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mistralrs.agent.toolset import Toolset, changed, inner
from mistralrs.api.enums import ToolChoice
from mistralrs.api.record import Record
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.responses import (
    AgenticToolCallRecord,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    ToolCallResponse,
    Usage,
)
from mistralrs.api.toolbox import Outcome

ROUNDS = 256  # unless the request says otherwise
LONGEST = 100_000  # characters of one result that the model reads


@dataclass(frozen=True)
class Progress(Record):
    """A tool call begins ("calling") or has ended ("complete")."""

    round: int
    tool_name: str
    phase: str
    data: dict[str, Any]
    type: str = "agentic_tool_call_progress"


@dataclass
class Said:
    """What the model said in one turn, as far as it has come."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCallResponse] = field(default_factory=list)

    def add(self, part: Any) -> None:
        """Take a Delta or a ResponseMessage."""
        self.content += part.content or ""
        self.reasoning += part.reasoning_content or ""
        for call in part.tool_calls or ():
            self.call(call)

    def call(self, call: ToolCallResponse) -> None:
        """Take a call, or a further piece of the arguments of one."""
        at = next((i for i, known in enumerate(self.calls) if known.index == call.index), None)
        if at is None or call.id not in ("", self.calls[at].id):
            self.calls.append(call)
            return
        known = self.calls[at].function
        whole = replace(known, arguments=known.arguments + call.function.arguments)
        self.calls[at] = replace(self.calls[at], function=whole)

    def message(self) -> dict[str, Any]:
        """The message of the conversation that this turn becomes."""
        thought = {"reasoning_content": self.reasoning} if self.reasoning else {}
        calls = [
            {"id": c.id, "type": "function", "function": c.function.to_dict()} for c in self.calls
        ]
        return {"role": "assistant", "content": self.content, **thought, "tool_calls": calls}


class Rounds:
    """The state of one request: its growing messages, the tools that ran, the tokens that it took."""

    def __init__(self, request: ChatCompletionRequest, tools: Toolset):
        self.tools, self.number = tools, 0
        self.limit = request.max_tool_rounds or ROUNDS
        self.request = changed(inner(request), tool_schemas=tools.schemas)
        self.messages = conversation(request)
        self.said = Said()
        self.finish: str | None = None  # how the turn ended
        self.records: list[AgenticToolCallRecord] = []
        self.usage = Usage()
        self.held: list[ChatCompletionChunkResponse] = []  # chunks of calls that may be ours
        self.first: ChatCompletionChunkResponse | None = None

    # What the model says.

    def answered(self, response: ChatCompletionResponse) -> None:
        """Take a whole turn."""
        self.said.add(response.choices[0].message)
        self.finish = response.choices[0].finish_reason
        self.usage = total(self.usage, response.usage)

    def streamed(self, chunk: ChatCompletionChunkResponse) -> list[ChatCompletionChunkResponse]:
        """Take a chunk of a turn; returns what the caller sees of it at once."""
        self.first = self.first or chunk
        if chunk.usage is not None:
            self.usage = total(self.usage, chunk.usage)
            chunk = replace(chunk, usage=self.usage)
        chunk = replace(chunk, id=self.first.id, created=self.first.created)
        for choice in chunk.choices:
            self.said.add(choice.delta)
            self.finish = choice.finish_reason or self.finish
        if not self.said.calls and self.finish != "tool_calls":
            return [chunk]
        self.held.append(chunk)
        return seen(chunk)

    def calls(self) -> list[ToolCallResponse]:
        """The calls of this turn that run here: all of them, or none where the caller runs one of them."""
        calls = self.said.calls
        if self.finish != "tool_calls" or self.number >= self.limit:
            return []  # a call that broke off is not run, nor are those before it
        if any(c.function.name in self.tools.others for c in calls):
            return []
        return calls

    # What the tools return.

    def begun(self, calls: Sequence[ToolCallResponse]) -> list[Progress]:
        """Start a round; what to tell an observer."""
        self.number += 1
        return [
            self.progress(call, "calling", {"arguments": call.function.arguments}) for call in calls
        ]

    def returned(
        self, calls: Sequence[ToolCallResponse], outcomes: Sequence[Outcome]
    ) -> list[Progress]:
        """Take the results of a round; what to tell an observer."""
        self.messages.append(self.said.message())
        for call, outcome in zip(calls, outcomes, strict=True):
            text = clipped(outcome.text)
            self.messages.append(
                {
                    "role": "tool",
                    "tool_call_id": call.id,
                    "name": call.function.name,
                    "content": text,
                }
            )
            self.records.append(
                AgenticToolCallRecord(
                    self.number,
                    call.function.name,
                    call.function.arguments,
                    text,
                    list(outcome.images),
                )
            )
        self.said, self.held, self.finish = Said(), [], None
        return [
            self.progress(c, "complete", {"content": r.result_content})
            for c, r in zip(calls, self.records[-len(calls) :])
        ]

    def progress(self, call: ToolCallResponse, phase: str, data: dict[str, Any]) -> Progress:
        """An event for observers."""
        tool = self.tools.runs.get(call.function.name)
        kind = tool.kind.value if tool else "custom"
        return Progress(self.number, call.function.name, phase, {"tool_type": kind, **data})

    # What is asked and answered next.

    def ask(self) -> ChatCompletionRequest:
        """The next request. A tool is forced once only; after the last round the model has to answer."""
        choice = self.request.tool_choice
        if self.number:
            choice = ToolChoice.Auto
        if self.number >= self.limit:
            choice = ToolChoice.NoTools
        return changed(self.request, messages=self.messages, tool_choice=choice)

    def response(self, last: ChatCompletionResponse) -> ChatCompletionResponse:
        """The response to the caller: the last turn, with what happened before."""
        return replace(last, usage=self.usage, agentic_tool_calls=self.records or None)


def conversation(request: ChatCompletionRequest) -> list[dict[str, Any]]:
    """The messages of a request; a plain string is one user message."""
    if isinstance(request.messages, str):
        return [{"role": "user", "content": request.messages}]
    return [dict(message) for message in request.messages]


def seen(chunk: ChatCompletionChunkResponse) -> list[ChatCompletionChunkResponse]:
    """What a chunk says beside its tool calls."""
    deltas = [choice.delta for choice in chunk.choices]
    if not any(delta.content or delta.reasoning_content for delta in deltas):
        return []
    choices = [
        replace(c, finish_reason=None, delta=replace(c.delta, tool_calls=None))
        for c in chunk.choices
    ]
    return [replace(chunk, choices=choices, usage=None)]


def kept(chunk: ChatCompletionChunkResponse) -> ChatCompletionChunkResponse:
    """What `seen` left out of a chunk."""
    choices = [
        replace(c, delta=replace(c.delta, content=None, reasoning_content=None))
        for c in chunk.choices
    ]
    return replace(chunk, choices=choices)


def clipped(text: str) -> str:
    """A result that is not longer than a model can read."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[{len(text) - LONGEST} more characters were cut off]"


def arguments_of(call: ToolCallResponse) -> dict[str, Any]:
    """The arguments of a call; raises ValueError with what the model is told."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except ValueError as error:
        raise ValueError(f"the arguments are not valid JSON ({error})") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no JSON object")
    return arguments


def total(a: Usage, b: Usage) -> Usage:
    """The usage of two turns together."""
    prompt, completion = (
        a.prompt_tokens + b.prompt_tokens,
        a.completion_tokens + b.completion_tokens,
    )
    reading = a.total_prompt_time_sec + b.total_prompt_time_sec
    writing = a.total_completion_time_sec + b.total_completion_time_sec
    cached = a.prompt_tokens_details.cached_tokens + b.prompt_tokens_details.cached_tokens
    return Usage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        total_tokens=prompt + completion,
        avg_tok_per_sec=rate(prompt + completion, reading + writing),
        avg_prompt_tok_per_sec=rate(prompt, reading),
        avg_compl_tok_per_sec=rate(completion, writing),
        total_time_sec=reading + writing,
        total_prompt_time_sec=reading,
        total_completion_time_sec=writing,
        prompt_tokens_details=replace(a.prompt_tokens_details, cached_tokens=cached),
    )


def rate(tokens: int, seconds: float) -> float:
    """Tokens per second; 0 without measured time."""
    return tokens / seconds if seconds > 0 else 0.0
