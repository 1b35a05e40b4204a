"""A request in flight, seen from its caller: pieces in, cancellation and deadlines out."""

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from mistralrs.api.errors import RequestTimeoutError
from mistralrs.api.piece import Constraint, Follower, Piece
from mistralrs.api.prompt import Prompt
from mistralrs.engine.engine import Engine
from mistralrs.engine.sequence import Job

Item = Piece | BaseException


class Call:
    """One submitted job. Leaving its pieces early, in any way, cancels the job."""

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        follow: Callable[[], Follower],
        timeout: float | None,
        constrain: Callable[[], Constraint] | None = None,
    ):
        self.engine, self.timeout = engine, timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.left = prompt.n  # continuations that have not finished
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.job = Job(prompt, follow, self.inbox.put, constrain)

    def pieces(self, whole: bool = False) -> Iterator[Piece]:
        """Submit the job; the pieces as they come, or RequestTimeoutError, or what the engine delivers.

        With `whole` all of them come at the end, so that no token makes the engine wait for its caller's thread.
        """
        if whole:
            self.job.deliver = gathered(self.left, self.job.deliver)
        self.engine.submit(self.job)
        return self.received()

    def received(self) -> Iterator[Piece]:
        """The pieces of a submitted job."""
        try:
            while self.left:
                yield self.take(self.inbox.get(timeout=self.remaining()))
        except queue.Empty:
            raise self.late() from None
        finally:
            self.cancel()

    def pieces_async(self, whole: bool = False) -> AsyncIterator[Piece]:
        """`pieces` for the running event loop."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        self.job.deliver = lambda item: put(loop, inbox, item)
        if whole:
            self.job.deliver = gathered(self.left, self.job.deliver)
        self.engine.submit(self.job)
        return self.received_async(inbox)

    async def received_async(self, inbox: "asyncio.Queue[Item]") -> AsyncIterator[Piece]:
        """The pieces of a submitted job."""
        try:
            while self.left:
                yield self.take(await asyncio.wait_for(inbox.get(), self.remaining()))
        except (TimeoutError, asyncio.TimeoutError):
            raise self.late() from None
        finally:
            self.cancel()

    def take(self, item: Item) -> Piece:
        """A piece, or the exception that ends the call."""
        if isinstance(item, BaseException):
            self.left = 0
            raise item
        self.left -= item.finish is not None
        return item

    def cancel(self) -> None:
        """Give up what has not finished; harmless afterwards."""
        if self.left:
            self.engine.cancel(self.job)

    def remaining(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def late(self) -> RequestTimeoutError:
        """The error of a missed deadline."""
        return RequestTimeoutError(
            f"the request did not finish within {self.timeout} s and was canceled; pass a larger "
            "timeout, or ask for fewer tokens"
        )


def gathered(count: int, deliver: Callable[[Item], None]) -> Callable[[Item], None]:
    """A delivery that holds everything back until `count` continuations have ended or the job has failed."""
    held: list[Item] = []
    left = count

    def take(item: Item) -> None:
        nonlocal left
        held.append(item)
        left = 0 if isinstance(item, BaseException) else left - (item.finish is not None)
        if left <= 0:
            for one in held:
                deliver(one)
            held.clear()

    return take


def put(loop: asyncio.AbstractEventLoop, inbox: "asyncio.Queue[Any]", item: Item) -> None:
    """Hand an item from the engine's thread to an event loop."""
    loop.call_soon_threadsafe(inbox.put_nowait, item)
