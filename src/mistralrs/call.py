"""A request in flight, seen from its caller: pieces in, cancellation and deadlines out."""

import asyncio
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from mistralrs.api.errors import RequestTimeoutError
from mistralrs.api.piece import Constraint, Follower, Piece
from mistralrs.api.prompt import Prompt
from mistralrs.engine.engine import Engine
from mistralrs.engine.sequence import Job

Item = Piece | BaseException


class Mailbox:
    """What the engine's thread delivers: kept until it is taken, or handed on once somebody listens."""

    def __init__(self) -> None:
        self.items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.listener: Callable[[Item], None] | None = None
        self.lock = threading.Lock()

    def put(self, item: Item) -> None:
        """Deliver."""
        with self.lock:
            (self.listener or self.items.put)(item)

    def listen(self, listener: Callable[[Item], None]) -> None:
        """Hand what is here, and from now on everything, to `listener`, in order."""
        with self.lock:
            while not self.items.empty():
                listener(self.items.get_nowait())
            self.listener = listener


class Inbox:
    """What has come for one task of an event loop; everything here happens on its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.items: deque[Item] = deque()
        self.arrival: asyncio.Future[None] | None = None  # while the task waits

    def put(self, item: Item) -> None:
        """Deliver."""
        self.items.append(item)
        if self.arrival is not None and not self.arrival.done():
            self.arrival.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Return when something is here; TimeoutError if nothing comes."""
        self.arrival = self.loop.create_future()
        await (self.arrival if seconds is None else asyncio.wait_for(self.arrival, seconds))


class Post:
    """What the engine hands to one event loop: the loop wakes up once for all that is there by then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.waiting: deque[tuple[Inbox, Item]] = deque()
        self.due = False  # the loop was told

    def put(self, inbox: Inbox, item: Item) -> None:
        """Leave an item, on the engine's thread."""
        self.waiting.append((inbox, item))
        if not self.due:
            self.due = True  # first: the loop may be quick
            self.wake()

    def wake(self) -> None:
        """Let the loop hand out what waits; RuntimeError if it is closed."""
        try:
            loop = self.loop()
            if loop is None:
                raise RuntimeError("the event loop is gone")
            loop.call_soon_threadsafe(self.hand_out)
        except RuntimeError:
            self.due = False
            raise

    def hand_out(self) -> None:
        """Give everybody theirs."""
        self.due = False  # first: what comes from now on may need another wake-up
        while self.waiting:
            inbox, item = self.waiting.popleft()
            inbox.put(item)


class Posts:
    """The posts of one model by event loop."""

    def __init__(self) -> None:
        self.posts: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Post] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, loop: asyncio.AbstractEventLoop) -> Post:
        """The post of a loop; called on its thread."""
        return self.posts.setdefault(loop, Post(loop))


class Call:
    """One submitted job. Leaving its pieces early, in any way, or dropping the call cancels the job.

    The engine has the job from the beginning, so whoever prepares a call needs the model until then and no longer.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        follow: Callable[[], Follower],
        timeout: float | None,
        constrain: Callable[[], Constraint] | None = None,
        posts: Posts | None = None,
    ):
        self.posts = posts or Posts()
        self.engine, self.timeout = engine, timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.mailbox = Mailbox()
        self.job = Job(prompt, follow, self.mailbox.put, constrain)
        self.left = prompt.n  # continuations that have not finished
        engine.submit(self.job)

    def __del__(self) -> None:
        self.cancel()

    def pieces(self, whole: bool = False) -> Iterator[Piece]:
        """The pieces as they come, or RequestTimeoutError, or what the engine delivers.

        With `whole` all of them come at the end, so that no token makes the engine wait for its caller's thread.
        """
        items = self.mailbox.items
        if whole:
            items = queue.SimpleQueue()
            self.mailbox.listen(gathered(self.left, items.put))
        try:
            while self.left:
                yield self.take(items.get(timeout=self.remaining()))
        except queue.Empty:
            raise self.late() from None
        finally:
            self.cancel()

    def pieces_async(self, whole: bool = False) -> AsyncIterator[Piece]:
        """`pieces` for the running event loop."""
        loop = asyncio.get_running_loop()
        inbox = Inbox(loop)
        deliver = partial(self.posts.of(loop).put, inbox)
        self.mailbox.listen(gathered(self.left, deliver) if whole else deliver)
        return self.received_async(inbox)

    async def received_async(self, inbox: Inbox) -> AsyncIterator[Piece]:
        """The pieces of an inbox."""
        try:
            while self.left:
                while not inbox.items:
                    await inbox.wait(self.remaining())
                yield self.take(inbox.items.popleft())
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
