"""Runner: models by id; a request in, a response or an iterator out."""

from collections.abc import Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from mistralrs import loaders
from mistralrs.agent.loop import Turn
from mistralrs.api import check, config_file, later
from mistralrs.api.config import ConfigFile
from mistralrs.api.errors import ModelNotFoundError, NotSupportedError
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
from mistralrs.engine.engine import Occupancy
from mistralrs.fleet import Fleet
from mistralrs.loaders import Modalities
from mistralrs.pipeline import Completion, Pipeline, Settings
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


@strict
class Runner:
    """Loads models and answers requests; any number of threads may use one.

    A context manager: leaving it ends the engines and gives the memory back. Arguments are those of the
    documented SDK; `model_id` is the name that requests use for the model instead of its hub id or folder.
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
        *,
        model_id: str | None = None,
    ):
        given = dict(locals())
        later.refuse("Runner", given, later.RUNNER)
        self._settings = Settings(**{name: given[name] for name in Settings.__dataclass_fields__})
        self._fleet = Fleet()
        self._toolbox = Toolbox(given)
        try:
            self._add(which, model_id, self._settings)
            self._toolbox.load(self._settings)
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_config(cls, path: str | PathLike[str] | ConfigFile) -> "Runner":
        """A Runner with all models of a TOML file, loaded; docs/cli.md describes the file."""
        file = path if isinstance(path, ConfigFile) else config_file.read(path)
        if file.cpu and torch.cuda.is_available():
            raise NotSupportedError(
                "cpu = true in a file needs CUDA_VISIBLE_DEVICES='' in the environment of Python"
            )
        for model in file.models:  # mistakes show before anything is loaded
            loaders.loader_of(model.which)
            Settings().varied(model.options)
        first, *others = file.models
        runner = cls(first.which, model_id=first.id, **first.options, **file.options)
        try:
            for model in others:
                runner.add_model(model.which, model.id, **model.options)
            if file.default is not None:
                runner.set_default_model_id(file.default)
        except BaseException:
            runner.close()
            raise
        return runner

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
        return self._completion(request, model_id, timeout).whole()

    def send_embedding_request(
        self,
        request: EmbeddingRequest,
        model_id: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[list[float]]:
        """One vector for each input, in their order."""
        with self._fleet.vectors(target(request, EmbeddingRequest, model_id), timeout) as (
            model,
            left,
        ):
            return model.embed(request, left)

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
        with self._fleet.text(model_id) as (pipeline, _):
            pipeline.requantize(dtype)

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
        with self._fleet.text(model_id) as (pipeline, _):
            return pipeline.explain(bandwidth, speed)

    # Text.

    def count_tokens(self, request: ChatCompletionRequest, model_id: str | None = None) -> int:
        """The tokens of a chat's prompt as its model reads it, without running it."""
        with self._fleet.text(target(request, ChatCompletionRequest, model_id)) as (pipeline, _):
            return pipeline.count(request)

    def tokenize_text(
        self,
        text: str,
        add_special_tokens: bool,
        enable_thinking: bool | None = None,
        model_id: str | None = None,
    ) -> list[int]:
        """The token ids of a text, without a chat template."""
        with self._fleet.lease(model_id) as (model, _):
            return model.tokenizer.encode(check.text("text", text), add_special_tokens)

    def detokenize_text(
        self, tokens: list[int], skip_special_tokens: bool, model_id: str | None = None
    ) -> str:
        """The text of token ids."""
        ids = check.items(check.count(0))("tokens", tokens)
        with self._fleet.lease(model_id) as (model, _):
            return model.tokenizer.decode(ids, skip_special_tokens)

    def max_sequence_length(self, model_id: str | None = None) -> int | None:
        """The most tokens that a prompt and its continuation can have together."""
        with self._fleet.lease(model_id) as (model, _):
            return model.context

    # Models.

    def add_model(self, which: Which, model_id: str | None = None, **options: Any) -> str:
        """Load another model; its id is `model_id`, else the hub id or folder that `which` names.

        `options` are those of Runner for its engine and cache, by default as the Runner has them, and of its own
        `in_situ_quant`, `chat_template` and `jinja_explicit`. Tools belong to the Runner: all models have them.
        """
        return self._add(which, model_id, self._settings.varied(options))

    def list_models(self) -> list[str]:
        """Ids of the loaded models."""
        return [id for id, status in self._fleet.status() if status == "loaded"]

    def list_unloaded_models(self) -> list[str]:
        """Ids of the models that are not loaded."""
        return [id for id, status in self._fleet.status() if status == "unloaded"]

    def list_models_with_status(self) -> list[tuple[str, str]]:
        """All ids with "loaded", "unloaded" or "reloading"."""
        return self._fleet.status()

    def get_model_status(self, model_id: str) -> str | None:
        """The status of a model, None for an unknown id."""
        try:
            return self._fleet.find(model_id).status
        except ModelNotFoundError:
            return None

    def get_default_model_id(self) -> str | None:
        """The model that requests without an id go to."""
        return self._fleet.default

    def modalities(self, model_id: str | None = None) -> Modalities | None:
        """What a model reads and writes, as `{"input": ["text", "image"], "output": ["text"]}`; None until loaded."""
        return self._fleet.find(model_id).modalities

    def source(self, model_id: str | None = None) -> Which:
        """What a model was loaded from, as it was given."""
        return self._fleet.find(model_id).source

    def occupancy(self, model_id: str | None = None) -> Occupancy | None:
        """What the engine of a model is busy with now; None for one that is not loaded or writes no text."""
        model = self._fleet.find(model_id).model
        return model.engine.occupancy() if isinstance(model, Pipeline) else None

    def set_default_model_id(self, model_id: str) -> None:
        """Choose the default among the loaded models."""
        self._fleet.choose(model_id)

    def is_model_loaded(self, model_id: str) -> bool:
        """Whether a model is in memory; False for an unknown id."""
        return self.get_model_status(model_id) == "loaded"

    def unload_model(self, model_id: str) -> None:
        """Free a model's memory and keep its configuration; the next request loads it again.

        Requests that run are finished first. If it was the default, the first other loaded model becomes it.
        """
        self._fleet.unload(model_id)

    def reload_model(self, model_id: str) -> None:
        """Load an unloaded model; returns when it is ready."""
        self._fleet.find(model_id).ready().result()

    def remove_model(self, model_id: str) -> None:
        """Unload a model and forget it; the last one stays. A loaded one replaces the default, if there is one."""
        self._fleet.remove(model_id)

    @property
    def mcp_client(self) -> "McpClient | None":
        """The client of the MCP servers: their tools, resources and status."""
        return self._toolbox.mcp

    # Life.

    def close(self) -> None:
        """End the engines and the MCP servers, and free the memory."""
        self._toolbox.close()
        self._fleet.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, which: Which, model_id: str | None, settings: Settings) -> str:
        id = loaders.name_of(which) if model_id is None else model_id
        self._fleet.add(id, which, lambda: loaders.load(which, settings))
        return id

    def _chat(
        self, request: ChatCompletionRequest, model_id: str | None, timeout: float | None
    ) -> Turn:
        """Begin a chat, with the tools that run here. Each round of tools asks for the model anew."""
        id = self._fleet.find(target(request, ChatCompletionRequest, model_id)).id

        def send(request: ChatCompletionRequest, timeout: float | None) -> Turn:
            with self._fleet.text(id, timeout) as (pipeline, left):
                return pipeline.chat(request, left)

        def count(text: str) -> int:
            return len(self.tokenize_text(text, False, model_id=id))

        return self._toolbox.chat(send, count, request, timeout)

    def _completion(
        self, request: CompletionRequest, model_id: str | None, timeout: float | None
    ) -> Completion:
        """Begin a completion."""
        with self._fleet.text(target(request, CompletionRequest, model_id), timeout) as (
            pipeline,
            left,
        ):
            return pipeline.completion(request, left)

    def _pipeline(self, model_id: str | None) -> Pipeline:
        """A loaded text model as it is now, for looking inside."""
        with self._fleet.text(model_id) as (pipeline, _):
            return pipeline


def target(request: Any, kind: type[Any], model_id: str | None) -> str | None:
    """The model that a request goes to, None for the default; raises RequestTypeError unless it is of that kind."""
    if not isinstance(request, kind):
        raise check.wrong_type("request", f"a {kind.__name__}", request)
    named = getattr(request, "model", "default")  # an EmbeddingRequest names none
    return model_id or (None if named == "default" else named)
