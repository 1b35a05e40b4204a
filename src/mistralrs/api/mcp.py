"""MCP: servers whose tools a runner offers to the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mistralrs.api import check
from mistralrs.api.errors import RequestError
from mistralrs.api.strict import strict
from mistralrs.api.variant import Family, publish


class McpServerSourcePy(Family):
    """How a server is reached."""

    Http: TypeAlias = "McpHttp"
    Process: TypeAlias = "McpProcess"
    WebSocket: TypeAlias = "McpWebSocket"


@strict
@dataclass(frozen=True)
class McpHttp(McpServerSourcePy):
    """A server behind an http or https address (streamable HTTP or server-sent events)."""

    __qualname__ = "McpServerSourcePy.Http"

    url: str
    timeout_secs: float | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)  # may hold secrets

    def __post_init__(self) -> None:
        check.apply(self, _SOURCE | {"url": check.url()})


@strict
@dataclass(frozen=True)
class McpProcess(McpServerSourcePy):
    """A server started as a child process that talks over its standard streams."""

    __qualname__ = "McpServerSourcePy.Process"

    command: str
    args: Sequence[str] = field(default_factory=list)
    work_dir: str | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)  # may hold secrets

    def __post_init__(self) -> None:
        check.apply(self, _SOURCE)


@strict
@dataclass(frozen=True)
class McpWebSocket(McpServerSourcePy):
    """A server behind a ws or wss address."""

    __qualname__ = "McpServerSourcePy.WebSocket"

    url: str
    timeout_secs: float | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)  # may hold secrets

    def __post_init__(self) -> None:
        check.apply(self, _SOURCE | {"url": check.url("ws://", "wss://")})


publish(McpServerSourcePy)

_SOURCE: dict[str, check.Check] = {
    "timeout_secs": check.number(above=0),
    "headers": check.table(check.name, check.text),
    "command": check.path,
    "args": check.items(check.text),
    "work_dir": check.path,
    "env": check.table(check.name, check.text),
}


@strict
@dataclass(frozen=True)
class McpServerConfigPy:
    """One server: how to reach it, and how its tools are named."""

    id: str
    name: str
    source: McpServerSourcePy
    enabled: bool = True
    tool_prefix: str | None = None
    resources: Sequence[str] | None = None
    bearer_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check.apply(self, _SERVER)


_SERVER: dict[str, check.Check] = {
    "id": check.name,
    "name": check.name,
    "source": check.instance(McpServerSourcePy),
    "enabled": check.flag,
    "tool_prefix": check.text,
    "resources": check.names,
    "bearer_token": check.text,
}


@strict
@dataclass(frozen=True)
class McpClientConfigPy:
    """All servers of a runner, and limits that hold for every tool call."""

    servers: Sequence[McpServerConfigPy]
    auto_register_tools: bool = True
    tool_timeout_secs: float | None = None
    max_concurrent_calls: int | None = None

    def __post_init__(self) -> None:
        check.apply(self, _CLIENT)
        ids = [server.id for server in self.servers]
        for i, id in enumerate(ids):
            if id in ids[:i]:
                raise RequestError(
                    f"servers[{i}].id: {id!r} is used twice; give every server its own id"
                )


_CLIENT: dict[str, check.Check] = {
    "servers": check.items(check.instance(McpServerConfigPy)),
    "auto_register_tools": check.flag,
    "tool_timeout_secs": check.number(above=0),
    "max_concurrent_calls": check.count(1),
}
