"""AsyncRunner: the Runner for an event loop. Canceling a task cancels its request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from mistralrs.agent.loop import Turn
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from mistralrs.api.responses import (
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    CompletionResponse,
)
from mistralrs.api.which import Which
from mistralrs.embedder import late
from mistralrs.runner import Runner, target


class AsyncChatStream(AsyncIterator[ChatCompletionChunkResponse]):
    """The chunks of a streamed chat, for `async for`. Closing or dropping it cancels the request."""

    def __init__(self, chat: Turn):
        self._chat = chat
        self._chunks = chat.chunks_async()

    async def __anext__(self) -> ChatCompletionChunkResponse:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Cancel what is not finished."""
        self._chat.cancel()

    async def __aenter__(self) -> "AsyncChatStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._chat.cancel()

    def __del__(self) -> None:
        self._chat.cancel()


class AsyncRunner:
    """A Runner whose requests are awaited; `runner` is the Runner itself, for everything else."""

    def __init__(self, runner: Runner):
        self.runner = runner

    @classmethod
    async def load(cls, which: Which, **options: Any) -> "AsyncRunner":
        """Load a model without blocking the event loop; the arguments are those of Runner."""
        return cls(await asyncio.to_thread(Runner, which, **options))

    async def send_chat_completion_request(
        self,
        request: ChatCompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> ChatCompletionResponse | AsyncChatStream:
        """Answer a chat: the whole response, or an async iterator of chunks when `request.stream` is set."""
        chat = await asyncio.to_thread(self.runner._chat, request, model_id, timeout)
        return AsyncChatStream(chat) if request.stream else await chat.whole_async()

    async def send_completion_request(
        self,
        request: CompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> CompletionResponse:
        """Continue a text."""
        pipeline = await asyncio.to_thread(
            self.runner._pipeline, target(request, CompletionRequest, model_id)
        )
        completion = await asyncio.to_thread(pipeline.completion, request, timeout)
        return await completion.whole_async()

    async def send_embedding_request(
        self,
        request: EmbeddingRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[list[float]]:
        """One vector for each input, in their order."""
        model = await asyncio.to_thread(
            self.runner._embedder, target(request, EmbeddingRequest, model_id)
        )
        futures = await asyncio.to_thread(model.start, request)
        try:
            vectors = asyncio.gather(*map(asyncio.wrap_future, futures))
            return await asyncio.wait_for(vectors, timeout)
        except (TimeoutError, asyncio.TimeoutError):
            raise late(timeout) from None

    async def stream_completion_request(
        self, request: CompletionRequest, model_id: str | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Continue a text, as it is written: dicts with `choices` in OpenAI's form, the last one with `usage`."""
        pipeline = await asyncio.to_thread(
            self.runner._pipeline, target(request, CompletionRequest, model_id)
        )
        return (await asyncio.to_thread(pipeline.completion, request, None)).texts_async()

    async def embed(
        self, request: EmbeddingRequest, model_id: str | None = None
    ) -> tuple[list[list[float]], int]:
        """`send_embedding_request` and the number of tokens read."""
        model = await asyncio.to_thread(
            self.runner._embedder, target(request, EmbeddingRequest, model_id)
        )
        vectors = await self.send_embedding_request(request, model_id)
        return vectors, await asyncio.to_thread(model.count, request)

    async def close(self) -> None:
        """End the engines and free the memory."""
        await asyncio.to_thread(self.runner.close)

    async def __aenter__(self) -> "AsyncRunner":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
