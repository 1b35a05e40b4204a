"""A chat whose tools run here: asks the model, runs what it calls, and asks again until it answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol

from mistralrs.agent.approval import Approval
from mistralrs.agent.rounds import Progress, Rounds, arguments_of, kept
from mistralrs.agent.toolset import Toolset, inner, toolset
from mistralrs.api.errors import CanceledError, RequestTimeoutError, ToolError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.responses import (
    AgenticToolCallRecord,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    ToolCallResponse,
)
from mistralrs.api.toolbox import Outcome, Tool

Chunk = ChatCompletionChunkResponse


class Turn(Protocol):
    """One request to the model in flight."""

    def whole(self) -> ChatCompletionResponse: ...
    def chunks(self) -> Iterator[Chunk]: ...
    async def whole_async(self) -> ChatCompletionResponse: ...
    def chunks_async(self) -> AsyncIterator[Chunk]: ...
    def cancel(self) -> None: ...


Send = Callable[[ChatCompletionRequest, float | None], Turn]  # a request, seconds -> a turn


def converse(
    send: Send, request: ChatCompletionRequest, tools: Sequence[Tool], timeout: float | None
) -> Turn:
    """Begin a chat; with the tool loop if any of the tools is for this request."""
    found = toolset(request, tools)
    return Agent(send, request, found, timeout) if found else send(inner(request), timeout)


class Agent:
    """A Turn of several turns."""

    def __init__(
        self, send: Send, request: ChatCompletionRequest, tools: Toolset, timeout: float | None
    ):
        self.send, self.tools, self.timeout = send, tools, timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.approval = Approval(request)
        self.rounds = Rounds(request, tools)
        self.canceled = False
        self.pending: list[Future[Outcome]] = []
        self.turn = send(self.rounds.ask(), timeout)

    @property
    def records(self) -> list[AgenticToolCallRecord]:
        """The calls that have run so far."""
        return self.rounds.records

    # Waiting in a thread.

    def whole(self) -> ChatCompletionResponse:
        """Wait for the answer."""
        while True:
            response = self.turn.whole()
            self.rounds.answered(response)
            if not (calls := self.rounds.calls()):
                return self.rounds.response(response)
            self.rounds.begun(calls)
            self.rounds.returned(calls, self.run(calls))
            self.next()

    def chunks(self) -> Iterator[Chunk]:
        """The answer as it is written, from now on."""
        events = self.events()
        return (event for event in events if not isinstance(event, Progress))

    def events(self) -> Iterator[Chunk | Progress]:
        """`chunks`, and what the tools do."""
        return self.followed(self.turn.chunks())

    def followed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk | Progress]:
        """The events of a stream that has begun."""
        try:
            while True:
                for chunk in chunks:
                    yield from self.rounds.streamed(chunk)
                if not (calls := self.rounds.calls()):
                    yield from map(kept, self.rounds.held)
                    return
                yield from self.rounds.begun(calls)
                yield from self.rounds.returned(calls, self.run(calls))
                chunks = self.next().chunks()
        finally:
            self.cancel()

    def run(self, calls: Sequence[ToolCallResponse]) -> list[Outcome]:
        """Run the calls of a round at once."""
        futures = self.started(calls)
        try:
            return [self.result(future) for future in futures]
        finally:
            self.drop(futures)

    def result(self, future: "Future[Outcome]") -> Outcome:
        """Wait for one result; an exception of the tool is a result too."""
        try:
            failure = future.exception(self.remaining())
        except FutureTimeoutError:
            raise self.late() from None
        except CancelledError:
            raise CanceledError("the request was canceled while a tool ran") from None
        return failed(failure) if failure is not None else future.result()

    # Waiting in an event loop.

    async def whole_async(self) -> ChatCompletionResponse:
        """`whole` for an event loop."""
        while True:
            response = await self.turn.whole_async()
            self.rounds.answered(response)
            if not (calls := self.rounds.calls()):
                return self.rounds.response(response)
            self.rounds.begun(calls)
            self.rounds.returned(calls, await self.run_async(calls))
            await asyncio.to_thread(self.next)

    def chunks_async(self) -> AsyncIterator[Chunk]:
        """`chunks` for an event loop."""
        events = self.events_async()
        return (event async for event in events if not isinstance(event, Progress))

    def events_async(self) -> AsyncIterator[Chunk | Progress]:
        """`events` for an event loop."""
        return self.followed_async(self.turn.chunks_async())

    async def followed_async(self, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk | Progress]:
        """The events of a stream that has begun."""
        try:
            while True:
                async for chunk in chunks:
                    for event in self.rounds.streamed(chunk):
                        yield event
                if not (calls := self.rounds.calls()):
                    for held in self.rounds.held:
                        yield kept(held)
                    return
                for progress in self.rounds.begun(calls):
                    yield progress
                for progress in self.rounds.returned(calls, await self.run_async(calls)):
                    yield progress
                chunks = (await asyncio.to_thread(self.next)).chunks_async()
        finally:
            self.cancel()

    async def run_async(self, calls: Sequence[ToolCallResponse]) -> list[Outcome]:
        """`run` for an event loop; canceling the task gives the calls up."""
        futures = await asyncio.to_thread(self.started, calls)
        waits = [asyncio.wrap_future(future) for future in futures]
        try:
            done = asyncio.gather(*waits, return_exceptions=True)
            results = await asyncio.wait_for(done, self.remaining())
        except (TimeoutError, asyncio.TimeoutError):
            raise self.late() from None
        finally:
            self.drop(futures)
        return [r if isinstance(r, Outcome) else failed(r) for r in results]

    # Both.

    def started(self, calls: Sequence[ToolCallResponse]) -> list["Future[Outcome]"]:
        """Start the calls of a round."""
        if self.canceled:
            raise CanceledError("the request was canceled")
        self.pending = [self.start(call) for call in calls]
        return self.pending

    def start(self, call: ToolCallResponse) -> "Future[Outcome]":
        """Start one call; what cannot start is a failed future, for the model to read."""
        try:
            tool = self.tools.runs.get(call.function.name)
            if tool is None:
                names = ", ".join(self.tools.runs)
                raise ToolError(f"there is no tool '{call.function.name}'; the tools are: {names}")
            arguments = arguments_of(call)
            self.approval.check(tool, self.rounds.number, call.function.arguments)
            return tool.start(arguments)
        except Exception as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def next(self) -> Turn:
        """Ask the model again."""
        if self.canceled:
            raise CanceledError("the request was canceled")
        self.turn = self.send(self.rounds.ask(), self.remaining())
        return self.turn

    def cancel(self) -> None:
        """Give up what has not finished; harmless afterwards."""
        self.canceled = True
        self.turn.cancel()
        self.drop(self.pending)

    def drop(self, futures: Sequence["Future[Outcome]"]) -> None:
        """Give up calls that still run."""
        for future in futures:
            future.cancel()

    def remaining(self) -> float | None:
        """Seconds until the deadline, never quite none."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 1e-3)

    def late(self) -> RequestTimeoutError:
        """The error of a deadline that a tool missed."""
        return RequestTimeoutError(
            f"the request did not finish within {self.timeout} s because a tool still ran; pass a larger timeout"
        )


def failed(error: BaseException) -> Outcome:
    """What the model is told about a tool that failed."""
    return Outcome(f"ERROR: {str(error) or type(error).__name__}")
