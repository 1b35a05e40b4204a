"""Runner: models by id; a request in, a response or an iterator out."""

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mistralrs import loaders
from mistralrs.agent.loop import Turn
from mistralrs.api import check, later
from mistralrs.api.errors import (
    ModelNotFoundError,
    ModelStateError,
    NotSupportedError,
    RequestError,
)
from mistralrs.api.explain import Explanation
from mistralrs.api.mcp import McpClientConfigPy
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from mistralrs.api.responses import (
    AgenticToolCallRecord,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    CompletionResponse,
)
from mistralrs.api.strict import strict
from mistralrs.api.which import Which
from mistralrs.embedder import Embedder
from mistralrs.loaders import Model
from mistralrs.pipeline import Pipeline, Settings
from mistralrs.toolbox import Toolbox

if TYPE_CHECKING:
    from mistralrs.mcp.client import McpClient


class ChatStream(Iterator[ChatCompletionChunkResponse]):
    """The chunks of a streamed chat. Closing it, leaving its `with` block or dropping it cancels the request."""

    def __init__(self, chat: Turn):
        self._chat = chat
        self._chunks = chat.chunks()

    def __next__(self) -> ChatCompletionChunkResponse:
        return next(self._chunks)

    @property
    def agentic_tool_calls(self) -> Sequence[AgenticToolCallRecord]:
        """The tool calls that have run so far."""
        return getattr(self._chat, "records", ())

    def close(self) -> None:
        """Cancel what is not finished."""
        self._chat.cancel()

    def __enter__(self) -> "ChatStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Slot:
    """A model id: how to load it, and the loaded model while there is one."""

    def __init__(self, which: Which, settings: Settings):
        self.which, self.settings = which, settings
        self.lock = threading.Lock()
        self.pipeline: Model | None = None
        self.loading = False

    @property
    def status(self) -> str:
        """ "loaded", "unloaded" or "reloading"."""
        if self.loading:
            return "reloading"
        return "loaded" if self.pipeline else "unloaded"

    def get(self) -> Model:
        """The loaded model; loads it first if need be, once for all callers that wait."""
        with self.lock:
            if self.pipeline is None:
                self.loading = True
                try:
                    self.pipeline = loaders.load(self.which, self.settings)
                finally:
                    self.loading = False
            return self.pipeline

    def unload(self) -> None:
        """Give the memory back; requests that still run fail with an EngineError."""
        with self.lock:
            loaded, self.pipeline = self.pipeline, None
        if loaded is not None:
            loaded.close()


@strict
class Runner:
    """Loads a model and answers requests; any number of threads may use one.

    A context manager: leaving it ends the engine and gives the memory back. Arguments are those of the
    documented SDK; `docs/sdk.md` explains each.
    """

    def __init__(
        self,
        which: Which,
        max_seqs: int = 16,
        no_kv_cache: bool = False,
        prefix_cache_n: int = 16,
        token_source: str = "cache",
        speculative_gamma: int = 32,
        which_draft: Which | None = None,
        chat_template: str | None = None,
        jinja_explicit: str | None = None,
        num_device_layers: list[str] | None = None,
        in_situ_quant: str | None = None,
        anymoe_config: Any = None,
        pa_gpu_mem: int | None = None,
        pa_gpu_mem_usage: float | None = None,
        pa_ctxt_len: int | None = None,
        pa_blk_size: int | None = None,
        pa_cache_type: Any = None,
        no_paged_attn: bool = False,
        paged_attn: bool = False,
        seed: int | None = None,
        enable_search: bool = False,
        search_embedding_model: str | None = None,
        search_callback: Any = None,
        tool_callbacks: Any = None,
        mcp_client_config: McpClientConfigPy | None = None,
        mtp_model: str | None = None,
        mtp_n_predict: int | None = None,
        code_execution_config: Any = None,
        shell_config: Any = None,
        tool_callbacks_with_tools: Any = None,
    ):
        given = dict(locals())
        later.refuse("Runner", given, later.RUNNER)
        settings = Settings(**{name: given[name] for name in Settings.__dataclass_fields__})
        self._toolbox = Toolbox(given)
        slot = Slot(which, settings)
        try:
            self._default = slot.get().id
            self._toolbox.load(settings)
        except BaseException:
            slot.unload()
            self._toolbox.close()
            raise
        self._slots = {self._default: slot}

    # Requests.

    def send_chat_completion_request(
        self,
        request: ChatCompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> ChatCompletionResponse | ChatStream:
        """Answer a chat: the whole response, or an iterator of chunks when `request.stream` is set.

        `timeout` is in seconds; a request that takes longer is canceled with a RequestTimeoutError.
        """
        chat = self._chat(request, model_id, timeout)
        return ChatStream(chat) if request.stream else chat.whole()

    def send_completion_request(
        self,
        request: CompletionRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> CompletionResponse:
        """Continue a text."""
        pipeline = self._pipeline(target(request, CompletionRequest, model_id))
        return pipeline.completion(request, timeout).whole()

    def send_embedding_request(
        self,
        request: EmbeddingRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[list[float]]:
        """One vector for each input, in their order."""
        return self._embedder(target(request, EmbeddingRequest, model_id)).embed(request, timeout)

    def send_chat_completion_request_to_model(
        self, request: ChatCompletionRequest, model_id: str
    ) -> ChatCompletionResponse | ChatStream:
        """`send_chat_completion_request` with a model id."""
        return self.send_chat_completion_request(request, model_id)

    def send_completion_request_to_model(
        self, request: CompletionRequest, model_id: str
    ) -> CompletionResponse:
        """`send_completion_request` with a model id."""
        return self.send_completion_request(request, model_id)

    def generate_image(self, *args: Any, **kwargs: Any) -> Any:
        """An image for a prompt."""
        raise NotSupportedError(
            "image generation is not available yet; no diffusion model can be loaded"
        )

    def generate_audio(self, *args: Any, **kwargs: Any) -> Any:
        """Speech for a prompt."""
        raise NotSupportedError(
            "speech generation is not available yet; no speech model can be loaded"
        )

    generate_speech = generate_audio

    def send_re_isq(self, dtype: str, model_id: str | None = None) -> None:
        """Quantize a loaded model anew, from the numbers of its checkpoint; returns when it is done.

        Requests in flight wait meanwhile. They keep what they have written, and go on with the new weights.
        """
        self._pipeline(model_id).requantize(dtype)

    def explain(
        self,
        model_id: str | None = None,
        *,
        bandwidth: float | None = None,
        speed: float | None = None,
    ) -> Explanation:
        """What a model consists of: kernels, formats, bytes, cache; print it for a table.

        With the memory's `bandwidth` in bytes per second it names the most tokens per second that one request
        can reach, and with a measured `speed` in tokens per second the share that is reached.
        """
        return self._pipeline(model_id).explain(bandwidth, speed)

    # Text.

    def count_tokens(self, request: ChatCompletionRequest, model_id: str | None = None) -> int:
        """The tokens of a chat's prompt as its model reads it, without running it."""
        return self._pipeline(target(request, ChatCompletionRequest, model_id)).count(request)

    def tokenize_text(
        self,
        text: str,
        add_special_tokens: bool,
        enable_thinking: bool | None = None,
        model_id: str | None = None,
    ) -> list[int]:
        """The token ids of a text, without a chat template."""
        tokenizer = self._slot(model_id).get().tokenizer
        return tokenizer.encode(check.text("text", text), add_special_tokens)

    def detokenize_text(
        self, tokens: list[int], skip_special_tokens: bool, model_id: str | None = None
    ) -> str:
        """The text of token ids."""
        ids = check.items(check.count(0))("tokens", tokens)
        return self._slot(model_id).get().tokenizer.decode(ids, skip_special_tokens)

    def max_sequence_length(self, model_id: str | None = None) -> int | None:
        """The most tokens that a prompt and its continuation can have together."""
        return self._slot(model_id).get().context

    # Models.

    def list_models(self) -> list[str]:
        """Ids of the loaded models."""
        return [id for id, slot in self._slots.items() if slot.pipeline is not None]

    def list_unloaded_models(self) -> list[str]:
        """Ids of the models that are not loaded."""
        return [id for id, slot in self._slots.items() if slot.pipeline is None]

    def list_models_with_status(self) -> list[tuple[str, str]]:
        """All ids with "loaded", "unloaded" or "reloading"."""
        return [(id, slot.status) for id, slot in self._slots.items()]

    def get_model_status(self, model_id: str) -> str | None:
        """The status of a model, None for an unknown id."""
        slot = self._slots.get(model_id)
        return slot.status if slot else None

    def get_default_model_id(self) -> str | None:
        """The model that requests without an id go to."""
        return self._default

    def set_default_model_id(self, model_id: str) -> None:
        """Choose the default among the loaded models."""
        if self._slot(model_id).pipeline is None:
            raise ModelStateError(
                f"'{model_id}' is not loaded; call reload_model('{model_id}') first"
            )
        self._default = model_id

    def is_model_loaded(self, model_id: str) -> bool:
        """Whether a model is in memory; False for an unknown id."""
        return self.get_model_status(model_id) == "loaded"

    def unload_model(self, model_id: str) -> None:
        """Free a model's memory and keep its configuration; the next request loads it again."""
        self._slot(model_id).unload()

    def reload_model(self, model_id: str) -> None:
        """Load an unloaded model; returns when it is ready."""
        self._slot(model_id).get()

    def remove_model(self, model_id: str) -> None:
        """Forget a model entirely; the last one stays."""
        slot = self._slot(model_id)
        if len(self._slots) == 1:
            raise ModelStateError(f"'{model_id}' is the only model; close the Runner instead")
        del self._slots[model_id]
        slot.unload()
        self._default = next(iter(self._slots)) if self._default == model_id else self._default

    @property
    def mcp_client(self) -> "McpClient | None":
        """The client of the MCP servers: their tools, resources and status."""
        return self._toolbox.mcp

    # Life.

    def close(self) -> None:
        """End the engines and the MCP servers, and free the memory."""
        self._toolbox.close()
        for slot in self._slots.values():
            slot.unload()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _slot(self, model_id: str | None) -> Slot:
        id = self._default if model_id in (None, "default") else model_id
        if id not in self._slots:
            raise ModelNotFoundError(f"no model '{id}' here; there are: {', '.join(self._slots)}")
        return self._slots[id]

    def _chat(
        self, request: ChatCompletionRequest, model_id: str | None, timeout: float | None
    ) -> Turn:
        """Begin a chat, with the tools that run here."""
        pipeline = self._pipeline(target(request, ChatCompletionRequest, model_id))
        return self._toolbox.chat(pipeline, request, timeout)

    def _pipeline(self, model_id: str | None) -> Pipeline:
        model = self._slot(model_id).get()
        if isinstance(model, Pipeline):
            return model
        raise RequestError(
            f"'{model.id}' is an embedding model and writes no text: call send_embedding_request, or "
            "name a text model in model_id"
        )

    def _embedder(self, model_id: str | None) -> Embedder:
        model = self._slot(model_id).get()
        if isinstance(model, Embedder):
            return model
        raise RequestError(
            f"'{model.id}' is a text model and gives no embeddings: load an embedding model with "
            "Which.Embedding, and name it in model_id"
        )


def target(request: Any, kind: type[Any], model_id: str | None) -> str | None:
    """The model that a request goes to, None for the default; raises RequestTypeError unless it is of that kind."""
    if not isinstance(request, kind):
        raise check.wrong_type("request", f"a {kind.__name__}", request)
    named = getattr(request, "model", "default")  # an EmbeddingRequest names none
    return model_id or (None if named == "default" else named)
