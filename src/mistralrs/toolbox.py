"""The tools of a Runner: the user's functions, MCP servers and web search, and the chats that use them."""

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mistralrs import loaders
from mistralrs.agent.callbacks import callback_tools
from mistralrs.agent.duckduckgo import duckduckgo
from mistralrs.agent.loop import Turn, converse
from mistralrs.agent.rank import by_vectors
from mistralrs.agent.search import Search, called, search_tools
from mistralrs.api import check
from mistralrs.api.errors import NotSupportedError, RequestError, ToolError
from mistralrs.api.mcp import McpClientConfigPy
from mistralrs.api.requests import ChatCompletionRequest, EmbeddingRequest
from mistralrs.api.toolbox import Tool
from mistralrs.api.which import Which
from mistralrs.embedder import Embedder
from mistralrs.pipeline import Pipeline, Settings

if TYPE_CHECKING:
    from mistralrs.mcp.client import McpClient

RERANKERS = {"embedding_gemma": "google/embeddinggemma-300m"}


class Toolbox:
    """Made of the arguments of a Runner, which are checked before anything starts.

    MCP servers connect in the background from then on; `load` waits for them.
    """

    def __init__(self, given: Mapping[str, Any]):
        self.callbacks = callback_tools(given["tool_callbacks"], given["tool_callbacks_with_tools"])
        self.find = finder(given["search_callback"])
        self.reranker = reranker(given["enable_search"], given["search_embedding_model"])
        self.embedder: Embedder | None = None
        self.search = Search(self.find)
        self.mcp: McpClient | None = None
        self.offers = True  # whether requests get the MCP tools unasked
        if (config := given["mcp_client_config"]) is not None:
            self.connect(config)

    def connect(self, config: Any) -> None:
        """Start the MCP client."""
        check.instance(McpClientConfigPy)("mcp_client_config", config)
        if find_spec("mcp") is None or find_spec("websockets") is None:
            raise NotSupportedError(
                "mcp_client_config: needs the packages mcp and websockets; pip install 'mistralrs[mcp]'"
            )
        from mistralrs.mcp.client import McpClient

        self.offers = config.auto_register_tools
        self.mcp = McpClient(config)

    def load(self, settings: Settings) -> None:
        """Load the embedding model that ranks search results, and wait for the first word of each server."""
        if self.reranker is not None:
            model = loaders.load(Which.Embedding(self.reranker), settings)
            assert isinstance(model, Embedder)
            self.embedder = model
            self.search = Search(self.find, rank=by_vectors(self.vectors))
        if self.mcp is not None:
            self.mcp.wait()

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts."""
        assert self.embedder is not None
        return self.embedder.embed(EmbeddingRequest(texts, truncate_sequence=True), None)

    def chat(
        self, pipeline: Pipeline, request: ChatCompletionRequest, timeout: float | None
    ) -> Turn:
        """Begin a chat."""
        return converse(pipeline.chat, request, self.tools(pipeline, request), timeout)

    def tools(self, pipeline: Pipeline, request: ChatCompletionRequest) -> list[Tool]:
        """The tools for a request; of one name, the user's function counts most."""
        found = [] if self.mcp is None else self.mcp.tools()
        if not self.offers:
            found = [Tool(t.name, t.start, None, t.source, t.kind) for t in found]
        if request.web_search_options is not None:
            count = pipeline.tokenizer.encode
            options = request.web_search_options
            found += search_tools(self.search, options, lambda text: len(count(text, False)))
        by_name = {tool.name: tool for tool in [*found, *self.callbacks]}
        return list(by_name.values())

    def close(self) -> None:
        """End the MCP servers and free the embedding model."""
        if self.mcp is not None:
            self.mcp.close()
        if self.embedder is not None:
            self.embedder.close()


def finder(callback: Any) -> Any:
    """What answers a search: the user's function, or DuckDuckGo."""
    if callback is None:
        return duckduckgo
    check.function("search_callback", callback)
    try:
        inspect.signature(callback).bind("query")
    except TypeError as error:
        raise ToolError(
            f"search_callback: is called as function(query) and does not take that ({error})"
        ) from None
    except ValueError:  # a builtin without a known signature
        pass
    return called(callback)


def reranker(enabled: Any, model: Any) -> str | None:
    """The embedding model to load: its hub id or folder, None for ranking by words."""
    if model is not None and not enabled:
        raise RequestError("search_embedding_model: needs enable_search=True")
    if not check.flag("enable_search", enabled):
        return None
    name = check.path("search_embedding_model", model or "embedding_gemma")
    return RERANKERS.get(name.replace("-", "_"), name)
