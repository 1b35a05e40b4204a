"""Callbacks that cannot work are refused when a Runner is made, before anything is loaded."""

import pytest

from mistralrs import Runner, Which
from mistralrs.agent.callbacks import callback_tools
from mistralrs.api import errors

SCHEMA = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}


def good(name, arguments):
    return ""


class Method:
    def run(self, name, arguments):
        return ""


BAD = {
    "no mapping": (dict(tool_callbacks=[good]), errors.RequestTypeError, "a mapping"),
    "no function": (dict(tool_callbacks={"t": "x"}), errors.RequestTypeError, "a function"),
    "one argument": (dict(tool_callbacks={"t": lambda a: ""}), errors.ToolError, "name, arguments"),
    "three arguments": (
        dict(tool_callbacks={"t": lambda a, b, c: ""}),
        errors.ToolError,
        r"tool_callbacks\['t'\].*'c'",
    ),
    "empty name": (dict(tool_callbacks={"": good}), errors.RequestError, "is empty"),
    "twice": (
        dict(tool_callbacks={"t": good}, tool_callbacks_with_tools={"t": (good, SCHEMA)}),
        errors.ToolError,
        "give it once",
    ),
    "no pair": (dict(tool_callbacks_with_tools={"t": good}), errors.RequestTypeError, "a pair"),
    "bad schema": (
        dict(tool_callbacks_with_tools={"t": (good, "{")}),
        errors.ToolError,
        "not valid JSON",
    ),
    "other name": (
        dict(tool_callbacks_with_tools={"u": (good, SCHEMA)}),
        errors.ToolError,
        "write 'u'",
    ),
    "search without arguments": (
        dict(search_callback=lambda: []),
        errors.ToolError,
        r"function\(query\)",
    ),
    "reranker alone": (
        dict(search_embedding_model="embedding_gemma"),
        errors.RequestError,
        "enable_search=True",
    ),
    "MCP dict": (dict(mcp_client_config={}), errors.RequestTypeError, "McpClientConfigPy"),
}


@pytest.mark.parametrize(("options", "error", "message"), BAD.values(), ids=BAD)
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        Runner(which=Which.Plain("/no/such/model"), **options)


@pytest.mark.parametrize(
    "function", [good, Method().run, lambda *args: "", lambda a, b, c=1: "", print], ids=str
)
def test_accepted(function):
    (tool,) = callback_tools({"t": function}, None)
    assert tool.name == "t"
