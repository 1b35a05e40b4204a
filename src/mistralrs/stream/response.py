"""Pieces folded into responses. A streamed and a whole response are folds over the same events."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, TypeAlias

from mistralrs.api.enums import ToolCallType
from mistralrs.api.piece import Piece, Token
from mistralrs.api.prompt import Prompt
from mistralrs.api.record import quick
from mistralrs.api.requests import CompletionRequest
from mistralrs.api.responses import (
    CalledFunction,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    Choice,
    ChunkChoice,
    CompletionChoice,
    CompletionResponse,
    Delta,
    Logprobs,
    PromptTokensDetails,
    ResponseLogprob,
    ResponseMessage,
    ToolCallResponse,
    TopLogprob,
    Usage,
)
from mistralrs.stream.events import (
    Broken,
    Call,
    CallEnd,
    CallText,
    Content,
    Event,
    Finish,
    Reasoning,
    Splitter,
)
from mistralrs.stream.format import Format

log = logging.getLogger("mistralrs")

Reader: TypeAlias = Callable[[str], Any]  # the text of an answer -> its value


class Spelling(Protocol):
    """What a token looks like: a `Tokenizer`."""

    def bytes(self, id: int) -> bytes:
        """Return what a token adds to the UTF-8 text."""
        ...


@dataclass(frozen=True)
class Cost:
    """What a request took so far: wall time, and what the prefix cache saved."""

    prompt_seconds: float = 0.0
    completion_seconds: float = 0.0
    cached_tokens: int = 0


FREE = Cost()


@dataclass(frozen=True)
class Header:
    """What all responses to one request share."""

    id: str
    model: str
    created: int

    @classmethod
    def new(cls, number: int, model: str) -> "Header":
        """Return the header of request `number`, created now."""
        return cls(str(number), model, int(time.time()))


class Answer:
    """One continuation of a chat, as far as it has come."""

    def __init__(self, index: int, splitter: Splitter, read: Reader | None = None) -> None:
        self.index = index
        self._read = read
        self.finish: str | None = None
        self.records: list[ResponseLogprob] = []
        self._splitter = splitter
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, list[str]] = {}  # id, name and pieces of the arguments
        self._whole: set[int] = set()  # calls that are complete

    def push(self, piece: Piece) -> list[Event]:
        """Take what a step added and return its events."""
        events = self._splitter.push(piece.text)
        if piece.finish is not None:
            events += self._splitter.end(piece.finish)
        for event in events:
            self._add(event)
        return events

    def choice(self) -> Choice:
        """Return everything so far; a continuation that was cut off counts as canceled."""
        return Choice(
            finish_reason=self.finish or "canceled",
            index=self.index,
            message=self._message(),
            logprobs=Logprobs(content=self.records) if self.records else None,
        )

    def _add(self, event: Event) -> None:
        if isinstance(event, Content):
            self._content.append(event.text)
        elif isinstance(event, Reasoning):
            self._reasoning.append(event.text)
        elif isinstance(event, Call):
            self._calls[event.index] = [event.id, event.name]
        elif isinstance(event, CallText):
            self._calls[event.index].append(event.text)
        elif isinstance(event, CallEnd):
            self._whole.add(event.index)
        elif isinstance(event, Broken):
            self._content.append(event.text)
        else:
            self.finish = event.reason

    def _message(self) -> ResponseMessage:
        content, reasoning = "".join(self._content), "".join(self._reasoning)
        return ResponseMessage(
            content=content or (None if reasoning or self._whole else ""),
            role="assistant",
            tool_calls=self._tool_calls(),
            reasoning_content=reasoning or None,
            parsed=self._parsed(content),
        )

    def _tool_calls(self) -> list[ToolCallResponse] | None:
        """Return the complete calls, numbered anew."""
        calls = [self._calls[index] for index in sorted(self._whole)]
        return [
            tool_call(number, id, name, "".join(parts))
            for number, (id, name, *parts) in enumerate(calls)
        ] or None

    def _parsed(self, content: str) -> Any:
        """Return a complete answer as a value; None without a reader, or where that rejects the answer."""
        if self._read is None or self.finish != "stop":
            return None
        try:
            return self._read(content)
        except (ValueError, TypeError) as error:  # a stop string cut it, or a validator is stricter
            log.warning("the answer does not have the format asked for: %s", error)
            return None


class ChatReply:
    """Folds the pieces of a chat request into chunks and, at any time, into one response."""

    def __init__(
        self,
        prompt: Prompt,
        spelling: Spelling,
        format: Format,
        header: Header,
        read: Reader | None = None,
    ) -> None:
        self._answers = [
            Answer(i, format.start(prompt.text, prompt.tools), read) for i in range(prompt.n)
        ]
        self._prompt_tokens = len(prompt.tokens)
        self._completion_tokens = 0
        self._spelling = spelling
        self._header = header

    @property
    def done(self) -> bool:
        """Whether every continuation has ended."""
        return all(answer.finish is not None for answer in self._answers)

    def push(self, piece: Piece) -> list[Event]:
        """Take a piece and return its events."""
        return self._take(piece)[0]

    def chunks(self, piece: Piece, cost: Cost = FREE) -> list[ChatCompletionChunkResponse]:
        """Take a piece and return the chunks to send: one per event or reported token, often none.

        The last chunk of the last continuation carries the usage, computed with `cost`.
        """
        choices = self._choices(piece)
        last = len(choices) if piece.finish is not None and self.done else 0
        return [
            self._chunk(choice, self._usage(cost) if number == last else None)
            for number, choice in enumerate(choices, start=1)
        ]

    def response(self, cost: Cost = FREE) -> ChatCompletionResponse:
        """Return everything said so far as one response."""
        return ChatCompletionResponse(
            id=self._header.id,
            choices=[answer.choice() for answer in self._answers],
            created=self._header.created,
            model=self._header.model,
            usage=self._usage(cost),
        )

    def _take(self, piece: Piece) -> tuple[list[Event], list[ResponseLogprob]]:
        answer = self._answers[piece.index]
        records = [
            record(token, self._spelling) for token in piece.tokens if token.logprob is not None
        ]
        self._completion_tokens += len(piece.tokens)
        answer.records += records
        return answer.push(piece), records

    def _choices(self, piece: Piece) -> list[ChunkChoice]:
        """Take a piece; pair its events with its token reports, and end the last pair if it ended."""
        events, records = self._take(piece)
        deltas = [delta(event) for event in events if not isinstance(event, (CallEnd, Finish))]
        pairs = list(zip_longest(deltas, records))
        if piece.finish is not None and not pairs:
            pairs = [(None, None)]
        finish = self._answers[piece.index].finish
        return [
            quick(
                ChunkChoice,
                finish_reason=finish if number == len(pairs) else None,
                index=piece.index,
                delta=said or delta(),
                logprobs=report,
            )
            for number, (said, report) in enumerate(pairs, start=1)
        ]

    def _chunk(self, choice: ChunkChoice, usage: Usage | None) -> ChatCompletionChunkResponse:
        return quick(
            ChatCompletionChunkResponse,
            id=self._header.id,
            choices=[choice],
            created=self._header.created,
            model=self._header.model,
            system_fingerprint="local",
            object="chat.completion.chunk",
            usage=usage,
        )

    def _usage(self, cost: Cost) -> Usage:
        return usage(self._prompt_tokens, self._completion_tokens, cost)


class CompletionReply:
    """Folds the pieces of a completion request into one response; its text is exactly what was generated."""

    def __init__(self, request: CompletionRequest, prompt: Prompt, header: Header) -> None:
        self._prompt = prompt
        self._request = request
        self._header = header
        self._texts = [""] * prompt.n
        self._scores = [0.0] * prompt.n  # cumulative log-probabilities
        self._finishes: list[str | None] = [None] * prompt.n
        self._completion_tokens = 0

    @property
    def done(self) -> bool:
        """Whether every continuation has ended."""
        return None not in self._finishes

    def push(self, piece: Piece) -> None:
        """Take a piece."""
        self._texts[piece.index] += piece.text
        self._scores[piece.index] += sum(token.logprob or 0.0 for token in piece.tokens)
        self._finishes[piece.index] = piece.finish or self._finishes[piece.index]
        self._completion_tokens += len(piece.tokens)

    def said(self, piece: Piece) -> dict[str, Any] | None:
        """Take a piece and return what a stream says about it, None for nothing; `best_of` cannot be streamed."""
        first = not self._texts[piece.index] and self._request.echo_prompt
        self.push(piece)
        end = self._request.suffix if piece.finish else None
        text = (self._prompt.text if first else "") + piece.text + (end or "")
        if not text and piece.finish is None:
            return None
        choice = {
            "index": piece.index,
            "text": text,
            "finish_reason": piece.finish,
            "logprobs": None,
        }
        return {"choices": [choice]}

    def response(self, cost: Cost = FREE) -> CompletionResponse:
        """Return everything generated so far as one response."""
        return CompletionResponse(
            id=self._header.id,
            choices=[self._choice(*pair) for pair in enumerate(self._kept())],
            created=self._header.created,
            model=self._header.model,
            usage=usage(len(self._prompt.tokens), self._completion_tokens, cost),
        )

    def _choice(self, index: int, number: int) -> CompletionChoice:
        """Return continuation `number` as choice `index`."""
        before = self._prompt.text if self._request.echo_prompt else ""
        return CompletionChoice(
            finish_reason=self._finishes[number] or "canceled",
            index=index,
            text=before + self._texts[number] + (self._request.suffix or ""),
        )

    def _kept(self) -> list[int]:
        """Return the continuations to report: the likeliest first where best_of asks for a choice."""
        numbers = list(range(self._prompt.n))
        if (self._request.best_of or 1) > 1:
            numbers.sort(key=lambda number: -self._scores[number])
        return numbers[: self._request.kept]


def delta(event: Event | None = None) -> Delta:
    """Return what a chunk says about one event. Only the first chunk of a call has its id and name."""
    return quick(
        Delta,
        content=event.text if isinstance(event, (Content, Broken)) else None,
        role="assistant",
        tool_calls=call_delta(event),
        reasoning_content=event.text if isinstance(event, Reasoning) else None,
    )


def call_delta(event: Event | None) -> list[ToolCallResponse] | None:
    """Return what a chunk adds to a call."""
    if isinstance(event, Call):
        return [tool_call(event.index, event.id, event.name, "")]
    return [tool_call(event.index, "", "", event.text)] if isinstance(event, CallText) else None


def tool_call(index: int, id: str, name: str, arguments: str) -> ToolCallResponse:
    """Return a call, or a part of it."""
    function = CalledFunction(name=name, arguments=arguments)
    return ToolCallResponse(id=id, type=ToolCallType.Function, function=function, index=index)


def record(token: Token, spelling: Spelling) -> ResponseLogprob:
    """Return the report on one token and its alternatives. Log-probabilities are natural."""
    assert token.logprob is not None
    spelled = spelling.bytes(token.id)
    return ResponseLogprob(
        token=spelled.decode(errors="replace"),
        logprob=token.logprob,
        bytes=list(spelled),
        top_logprobs=[
            TopLogprob(token=id, logprob=logprob, bytes=spelling.bytes(id).decode(errors="replace"))
            for id, logprob in token.top
        ],
    )


def usage(prompt_tokens: int, completion_tokens: int, cost: Cost) -> Usage:
    """Return token counts and rates; a rate without measured time is 0."""
    total, seconds = (
        prompt_tokens + completion_tokens,
        cost.prompt_seconds + cost.completion_seconds,
    )
    return Usage(
        completion_tokens=completion_tokens,
        prompt_tokens=prompt_tokens,
        total_tokens=total,
        avg_tok_per_sec=_rate(total, seconds),
        avg_prompt_tok_per_sec=_rate(prompt_tokens, cost.prompt_seconds),
        avg_compl_tok_per_sec=_rate(completion_tokens, cost.completion_seconds),
        total_time_sec=seconds,
        total_prompt_time_sec=cost.prompt_seconds,
        total_completion_time_sec=cost.completion_seconds,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cost.cached_tokens),
    )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0
