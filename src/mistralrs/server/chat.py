"""Chats, completions and embeddings, as the OpenAI API has them."""

import base64
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mistralrs.aio import AsyncChatStream, AsyncRunner
from mistralrs.api.responses import ChatCompletionChunkResponse
from mistralrs.server.bodies import ChatBody, CompletionBody, EmbeddingBody
from mistralrs.server.guard import Metrics
from mistralrs.server.work import count, data, new_id, streamed, timed, while_connected


def routes(runner: AsyncRunner, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        """Answer a chat."""
        wanted = body.request()
        result = await while_connected(request, runner.send_chat_completion_request(wanted))
        id = new_id("chatcmpl-")
        if isinstance(result, AsyncChatStream):
            usage = body.stream_options is not None and body.stream_options.include_usage
            return streamed(request.url.path, chunks(timed(result, metrics), id, usage))
        count(metrics, result.usage)
        return JSONResponse(result.to_dict() | {"id": id})

    @router.post("/completions")
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
            return streamed(request.url.path, texts(pieces, head, metrics))
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
) -> AsyncIterator[str]:
    """Turn chunks into events; with `usage`, as OpenAI does it: in a last chunk without choices."""
    async with aclosing(stream):
        async for chunk in stream:
            value = chunk.to_dict() | {"id": id}
            for choice in value["choices"]:
                calls = choice["delta"].get("tool_calls")
                if calls:
                    choice["delta"]["tool_calls"] = [continued(call) for call in calls]
            if usage and (total := value.pop("usage", None)):
                yield data(value)
                value = value | {"choices": [], "usage": total}
            yield data(value)


def continued(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call's part without what only its first part has."""
    if call["id"]:
        return call
    return {"index": call["index"], "function": {"arguments": call["function"]["arguments"]}}


async def texts(
    pieces: AsyncGenerator[dict[str, Any]], head: dict[str, Any], metrics: Metrics
) -> AsyncIterator[str]:
    """Turn the pieces of a completion into events."""
    async with aclosing(pieces):
        async for piece in pieces:
            for kind in ("prompt", "completion"):
                metrics.tokens.labels(kind).inc(piece.get("usage", {}).get(f"{kind}_tokens", 0))
            yield data(head | piece)


def as_base64(vector: list[float]) -> str:
    """Return a vector as base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
