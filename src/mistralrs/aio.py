"""AsyncRunner: the Runner for an event loop. Canceling a task cancels its request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from os import PathLike
from typing import Any, TypeVar

from mistralrs.agent.loop import Turn
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from mistralrs.api.responses import (
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    CompletionResponse,
)
from mistralrs.api.which import Which
from mistralrs.embedder import late
from mistralrs.fleet import Patience
from mistralrs.pipeline import Completion
from mistralrs.runner import Runner, target

T = TypeVar("T")


class AsyncChatStream(AsyncIterator[ChatCompletionChunkResponse]):
    """The chunks of a streamed chat, for `async for`. Closing or dropping it cancels the request."""

    def __init__(self, chat: Turn):
        self._chat = chat
        self._chunks = chat.chunks_async()

    def __anext__(self) -> Awaitable[ChatCompletionChunkResponse]:
        return self._chunks.__anext__()

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

    @classmethod
    async def from_config(cls, path: str | PathLike[str]) -> "AsyncRunner":
        """Load all models of a TOML file; see `Runner.from_config`."""
        return cls(await asyncio.to_thread(Runner.from_config, path))

    async def send_chat_completion_request(
        self,
        request: ChatCompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> ChatCompletionResponse | AsyncChatStream:
        """Answer a chat: the whole response, or an async iterator of chunks when `request.stream` is set."""
        chat = await self._begin(
            lambda left: self.runner._chat(request, model_id, left),
            target(request, ChatCompletionRequest, model_id),
            timeout,
        )
        return AsyncChatStream(chat) if request.stream else await chat.whole_async()

    async def send_completion_request(
        self,
        request: CompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> CompletionResponse:
        """Continue a text."""
        return await (await self._completion(request, model_id, timeout)).whole_async()

    async def send_embedding_request(
        self,
        request: EmbeddingRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[list[float]]:
        """One vector for each input, in their order."""
        return (await self.embed(request, model_id, timeout))[0]

    async def stream_completion_request(
        self, request: CompletionRequest, model_id: str | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Continue a text, as it is written: dicts with `choices` in OpenAI's form, the last one with `usage`."""
        return (await self._completion(request, model_id, None)).texts_async()

    async def embed(
        self, request: EmbeddingRequest, model_id: str | None = None, timeout: float | None = None
    ) -> tuple[list[list[float]], int]:
        """`send_embedding_request` and the number of tokens read."""
        named = target(request, EmbeddingRequest, model_id)

        def start(left: float | None) -> tuple[list[Future[list[float]]], int]:
            with self.runner._fleet.vectors(named, left) as (model, _):
                return model.start(request)

        futures, tokens = await self._begin(start, named, timeout)
        try:
            vectors = asyncio.gather(*map(asyncio.wrap_future, futures))
            return await asyncio.wait_for(vectors, timeout), tokens
        except (TimeoutError, asyncio.TimeoutError):
            raise late(timeout) from None

    # Models: what takes time is awaited.

    async def add_model(self, which: Which, model_id: str | None = None, **options: Any) -> str:
        """Load another model; see `Runner.add_model`."""
        return await asyncio.to_thread(self.runner.add_model, which, model_id, **options)

    async def unload_model(self, model_id: str) -> None:
        """Free a model's memory and keep its configuration; see `Runner.unload_model`."""
        await asyncio.to_thread(self.runner.unload_model, model_id)

    async def reload_model(self, model_id: str) -> None:
        """Load an unloaded model; returns when it is ready."""
        await asyncio.wrap_future(self.runner._fleet.find(model_id).ready())

    async def remove_model(self, model_id: str) -> None:
        """Unload a model and forget it; see `Runner.remove_model`."""
        await asyncio.to_thread(self.runner.remove_model, model_id)

    def list_models(self) -> list[str]:
        """Ids of the loaded models."""
        return self.runner.list_models()

    def list_unloaded_models(self) -> list[str]:
        """Ids of the models that are not loaded."""
        return self.runner.list_unloaded_models()

    def list_models_with_status(self) -> list[tuple[str, str]]:
        """All ids with "loaded", "unloaded" or "reloading"."""
        return self.runner.list_models_with_status()

    def get_model_status(self, model_id: str) -> str | None:
        """The status of a model, None for an unknown id."""
        return self.runner.get_model_status(model_id)

    def is_model_loaded(self, model_id: str) -> bool:
        """Whether a model is in memory; False for an unknown id."""
        return self.runner.is_model_loaded(model_id)

    def get_default_model_id(self) -> str | None:
        """The model that requests without an id go to."""
        return self.runner.get_default_model_id()

    def set_default_model_id(self, model_id: str) -> None:
        """Choose the default among the loaded models."""
        self.runner.set_default_model_id(model_id)

    # Life.

    async def close(self) -> None:
        """End the engines and free the memory."""
        await asyncio.to_thread(self.runner.close)

    async def __aenter__(self) -> "AsyncRunner":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _completion(
        self, request: CompletionRequest, model_id: str | None, timeout: float | None
    ) -> Completion:
        return await self._begin(
            lambda left: self.runner._completion(request, model_id, left),
            target(request, CompletionRequest, model_id),
            timeout,
        )

    async def _begin(
        self, start: Callable[[float | None], T], name: str | None, timeout: float | None
    ) -> T:
        """What `start(seconds left)` returns, called in a thread once the model is there.

        Waiting for a model that loads occupies no thread, so that requests to other models have one.
        """
        slot, patience = self.runner._fleet.find(name), Patience(timeout)
        if not (loading := slot.ready()).done():
            try:
                await asyncio.wait_for(asyncio.wrap_future(loading), patience.left)
            except (TimeoutError, asyncio.TimeoutError):
                raise patience.late(slot.id) from None
            timeout = patience.left
        return await asyncio.to_thread(start, timeout)
