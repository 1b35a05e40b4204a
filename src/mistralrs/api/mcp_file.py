"""The JSON file of MCP servers that servers and command lines take."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mistralrs.api import check
from mistralrs.api.errors import ConfigError, MistralRsError, RequestError
from mistralrs.api.mcp import McpClientConfigPy, McpServerConfigPy, McpServerSourcePy

SOURCES: Mapping[str, Any] = {
    "Http": McpServerSourcePy.Http,
    "Process": McpServerSourcePy.Process,
    "WebSocket": McpServerSourcePy.WebSocket,
}


def read(file: str | Path) -> McpClientConfigPy:
    """The servers in a file; raises ConfigError that says what is wrong with it."""
    try:
        raw = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}): check its name") from None
    except ValueError as error:
        raise ConfigError(f"{file} is not valid JSON: {error}") from None
    try:
        return client(raw)
    except (MistralRsError, TypeError) as error:
        raise ConfigError(f"{file}: {error}") from None


def client(raw: Any) -> McpClientConfigPy:
    """The whole object."""
    fields = table("the file", raw)
    listed = check.items(check.instance(Mapping))("servers", fields.get("servers", []))
    return McpClientConfigPy(
        **{**fields, "servers": [server(i, one) for i, one in enumerate(listed)]}
    )


def server(number: int, raw: Mapping[str, Any]) -> McpServerConfigPy:
    """One server; the id may be left out, and is a number then."""
    where = f"servers[{number}]"
    named = {"id": str(number), "name": raw.get("id", str(number)), **raw}
    try:
        return McpServerConfigPy(**{**named, "source": source(where, raw.get("source"))})
    except (TypeError, RequestError) as error:
        raise RequestError(f"{where}: {error}") from None


def source(where: str, raw: Any) -> McpServerSourcePy:
    """How a server is reached: the object's `type` and the fields of that type."""
    fields = dict(table(f"{where}.source", raw))
    kind = check.one_of(*SOURCES)(f"{where}.source.type", fields.pop("type", ""))
    made: McpServerSourcePy = SOURCES[kind](**fields)
    return made


def table(where: str, value: Any) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise check.wrong_type(where, "an object", value)
    return value
