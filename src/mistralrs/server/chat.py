"""Chats, completions and embeddings, as the OpenAI API has them."""

import base64
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mistralrs.aio import AsyncChatStream, AsyncRunner
from mistralrs.api.responses import ChatCompletionChunkResponse, ChunkChoice
from mistralrs.server import document
from mistralrs.server.bodies import ChatBody, CompletionBody, EmbeddingBody
from mistralrs.server.metrics import Metrics
from mistralrs.server.work import (
    EventStream,
    count,
    data,
    new_id,
    quoted,
    timed,
    while_connected,
)


def routes(runner: AsyncRunner, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/chat/completions", responses=document.STREAMED)
    async def chat(body: ChatBody, request: Request) -> Response:
        """Answer a chat."""
        wanted, id = body.request(), new_id("chatcmpl-")
        asked = runner.send_chat_completion_request(wanted)
        result = await (asked if wanted.stream else while_connected(request, asked))
        if isinstance(result, AsyncChatStream):
            usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(request.url.path, chunks(timed(result, metrics), id, usage))
        count(metrics, result.usage)
        return JSONResponse(result.to_dict() | {"id": id})

    @router.post("/completions", responses=document.STREAMED)
    async def completion(body: CompletionBody, request: Request) -> Response:
        """Continue a text."""
        wanted, id = body.request(), new_id("cmpl-")
        if body.stream:
            pieces = await runner.stream_completion_request(wanted)
            head = {
                "id": id,
                "object": "text_completion",
                "created": int(time.time()),
                "model": body.model,
            }
            return EventStream(request.url.path, texts(pieces, head, metrics))
        result = await while_connected(request, runner.send_completion_request(wanted))
        count(metrics, result.usage)
        return JSONResponse(result.to_dict() | {"id": id})

    @router.post("/embeddings")
    async def embeddings(body: EmbeddingBody, request: Request) -> Response:
        """Turn texts into vectors."""
        vectors, tokens = await while_connected(request, runner.embed(body.request(), body.model))
        encode = as_base64 if body.encoding_format == "base64" else list
        items = [
            {"object": "embedding", "index": i, "embedding": encode(v)}
            for i, v in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": items, "model": body.model, "usage": usage})

    return router


async def chunks(
    stream: AsyncGenerator[ChatCompletionChunkResponse], id: str, usage: bool
) -> AsyncGenerator[str]:
    """Turn chunks into events; with `usage`, as OpenAI does it: in a last chunk without choices."""
    spelling = Spelling(id)
    async with aclosing(stream):
        async for chunk in stream:
            if usage and chunk.usage is not None:
                value = spelling.value(chunk)
                total = value.pop("usage")
                yield data(value) + data(value | {"choices": [], "usage": total})
            else:
                yield spelling.event(chunk)


class Spelling:
    """The chunks of one answer as events. What chunks with a piece of text share is written once."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.frames: dict[tuple[int, str], tuple[str, str]] = {}  # what stands around the text

    def event(self, chunk: ChatCompletionChunkResponse) -> str:
        """Return the event of a chunk."""
        choice = chunk.choices[0]
        kind = only(choice)
        if kind is None or chunk.usage is not None:
            return data(self.value(chunk))
        frame = self.frames.get((choice.index, kind))
        if frame is None:
            before, after = data(self.value(chunk, kind)).split(quoted(MARK))
            frame = self.frames[choice.index, kind] = before, after
        return frame[0] + quoted(getattr(choice.delta, kind)) + frame[1]

    def value(
        self, chunk: ChatCompletionChunkResponse, marked: str | None = None
    ) -> dict[str, Any]:
        """Return a chunk's JSON, with a mark for the text of one kind."""
        value = chunk.to_dict() | {"id": self.id}
        for choice in value["choices"]:
            calls = choice["delta"].get("tool_calls")
            if calls:
                choice["delta"]["tool_calls"] = [continued(call) for call in calls]
            if marked:
                choice["delta"][marked] = MARK
        return value


MARK = "\0the text\0"


def only(choice: ChunkChoice) -> str | None:
    """Return "content" or "reasoning_content" if a piece of such text is all that a chunk has."""
    delta = choice.delta
    if choice.finish_reason or choice.logprobs is not None or delta.tool_calls:
        return None
    if delta.content is None:
        return None if delta.reasoning_content is None else "reasoning_content"
    return "content" if delta.reasoning_content is None else None


def continued(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call's part without what only its first part has."""
    if call["id"]:
        return call
    return {"index": call["index"], "function": {"arguments": call["function"]["arguments"]}}


async def texts(
    pieces: AsyncGenerator[dict[str, Any]], head: dict[str, Any], metrics: Metrics
) -> AsyncGenerator[str]:
    """Turn the pieces of a completion into events."""
    async with aclosing(pieces):
        async for piece in pieces:
            for kind in ("prompt", "completion"):
                metrics.tokens.labels(kind).inc(piece.get("usage", {}).get(f"{kind}_tokens", 0))
            yield data(head | piece)


def as_base64(vector: list[float]) -> str:
    """Return a vector as base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
