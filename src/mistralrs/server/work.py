"""Running requests: cancellation when the client leaves, and server-sent events."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse

from mistralrs.aio import AsyncChatStream
from mistralrs.api.errors import CanceledError
from mistralrs.api.responses import ChatCompletionChunkResponse, Usage
from mistralrs.server.errors import described, shaped
from mistralrs.server.guard import Metrics

log = logging.getLogger("mistralrs.server")
Result = TypeVar("Result")
KEEP_ALIVE = 10.0  # seconds of silence after which a comment is sent


def new_id(prefix: str) -> str:
    """Return an id that nobody guesses."""
    return f"{prefix}{secrets.token_hex(12)}"


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`, which is canceled when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        raise CanceledError("the client went away")
    finally:
        gone.cancel()
        task.cancel()


async def disconnected(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


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


DONE = "data: [DONE]\n\n"


def streamed(path: str, events: AsyncIterator[str], end: str = DONE) -> StreamingResponse:
    """Return a response of server-sent events. An error is an event too, since the status is sent already."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        alive(guarded(path, events, end)), media_type="text/event-stream", headers=headers
    )


async def guarded(path: str, events: AsyncIterator[str], end: str) -> AsyncIterator[str]:
    """Pass events on; what breaks becomes the last event."""
    try:
        async for event in events:
            yield event
    except Exception as error:
        log.info("a stream ended with an error", exc_info=True)
        value = shaped(path, described(error)[1])
        yield data(value, "error" if path.startswith("/v1/messages") else None)
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
    if end:
        yield end


async def alive(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass events on, with comments while nothing comes, so that no proxy closes the connection."""
    following: asyncio.Future[str] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=KEEP_ALIVE)
            if not done:
                yield ": keep-alive\n\n"
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await events.aclose()  # type: ignore[attr-defined]
