"""Running requests: cancellation when the client leaves, and server-sent events."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from json.encoder import encode_basestring
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mistralrs.aio import AsyncChatStream
from mistralrs.api.errors import CanceledError
from mistralrs.api.responses import ChatCompletionChunkResponse, Usage
from mistralrs.server.errors import described, shaped
from mistralrs.server.guard import BARE
from mistralrs.server.metrics import Metrics

log = logging.getLogger("mistralrs.server")
Result = TypeVar("Result")
KEEP_ALIVE = 10.0  # seconds of silence after which a comment is sent


def new_id(prefix: str) -> str:
    """Return an id that nobody guesses."""
    return f"{prefix}{secrets.token_hex(12)}"


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`, which is canceled when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(left(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        raise CanceledError("the client went away")
    finally:
        gone.cancel()
        task.cancel()


def count(metrics: Metrics, usage: Usage | None) -> None:
    """Add the tokens of a finished request to the metrics."""
    if usage is not None:
        metrics.tokens.labels("prompt").inc(usage.prompt_tokens)
        metrics.tokens.labels("completion").inc(usage.completion_tokens)


async def timed(
    stream: AsyncChatStream, metrics: Metrics
) -> AsyncGenerator[ChatCompletionChunkResponse]:
    """Pass chunks on, with the time to the first; the request is canceled if nobody takes them all."""
    start, first = time.perf_counter(), True
    async with stream:
        async for chunk in stream:
            if first:
                metrics.first.observe(time.perf_counter() - start)
                first = False
            count(metrics, chunk.usage)
            yield chunk


def data(value: Any, event: str | None = None) -> str:
    """Return one server-sent event."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value, ensure_ascii=False)}\n\n"


def quoted(text: str) -> str:
    """Return a string of JSON."""
    return encode_basestring(text)


DONE = "data: [DONE]\n\n"


class EventStream(Response):
    """Server-sent events, with comments while nothing comes, so that no proxy closes the connection.

    An error is an event too, since the status is sent already. A client that leaves ends the events.
    """

    media_type = "text/event-stream"

    def __init__(self, path: str, events: AsyncGenerator[str], end: str = DONE) -> None:
        self.path, self.events, self.end = path, events, end
        self.status_code, self.background = 200, None
        self.sent = 0  # events
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        send = scope.get(BARE, send)
        writing = asyncio.ensure_future(self.write(send))
        leaving = asyncio.ensure_future(left(receive))
        try:
            await self.beside(send, {writing, leaving})
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        if not writing.cancelled():
            await send({"type": "http.response.body", "body": self.end.encode()})

    async def beside(self, send: Send, tasks: set[asyncio.Future[None]]) -> None:
        """Return when one of the tasks is done; send comments in between."""
        sent = self.sent
        while not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
            if sent == self.sent and not any(task.done() for task in tasks):
                await send(part(": keep-alive\n\n"))
            sent = self.sent

    async def write(self, send: Send) -> None:
        """Send the events."""
        try:
            async with aclosing(self.events):
                async for event in self.events:
                    self.sent += 1
                    await send(part(event))
        except Exception as error:
            log.info("a stream ended with an error", exc_info=True)
            value = shaped(self.path, described(error)[1])
            name = "error" if self.path.startswith("/v1/messages") else None
            await send(part(data(value, name)))


def part(text: str) -> Message:
    """Return a piece of a body."""
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


async def left(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
