"""Ways to reach an MCP server: each yields the streams of incoming and outgoing messages."""

import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from websockets.exceptions import InvalidStatus

from mistralrs.api.mcp import McpHttp, McpProcess, McpServerConfigPy, McpWebSocket
from mistralrs.mcp.websocket import websocket

Way = Callable[[McpServerConfigPy, "Trouble"], AbstractAsyncContextManager[tuple[Any, Any]]]

SECONDS = 30.0  # for a connection, unless the server's source says otherwise
IDLE = 300.0  # seconds without a byte after which an event stream is opened again
TAIL = 2000  # bytes of a process's standard error that are kept
for name in (
    "mcp",
    "client",
):  # the package reports broken messages with tracebacks; only to those who ask
    logging.getLogger(name).addHandler(logging.NullHandler())


class Trouble:
    """What a transport knows beside its exception: an HTTP status, the last words of a process."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.words = b""

    def __str__(self) -> str:
        if self.status in (401, 403):
            return f"HTTP {self.status}: the server refuses the token; set bearer_token or headers"
        if self.status is not None:
            return f"HTTP {self.status}"
        return self.words.decode(errors="replace").strip()

    async def note(self, response: httpx2.Response) -> None:
        """Remember a failed response."""
        self.status = response.status_code if response.status_code >= 400 else None

    def listen(self, pipe: int) -> None:
        """Read a process's standard error to its end, and keep its last words."""
        with os.fdopen(pipe, "rb", buffering=0) as file:
            while chunk := file.read(1 << 16):
                self.words = (self.words + chunk)[-TAIL:]


def ways(source: Any) -> list[Way]:
    """The ways to try, in order. An http address does not tell which of its two protocols is spoken."""
    if isinstance(source, McpHttp):
        older = urlsplit(source.url).path.rstrip("/").endswith("/sse")
        return [events, streamable] if older else [streamable, events]
    return [process if isinstance(source, McpProcess) else frames]


def patience(source: Any) -> float:
    """Seconds to wait for a connection and for its handshake."""
    return getattr(source, "timeout_secs", None) or SECONDS


def headers(server: McpServerConfigPy) -> dict[str, str]:
    """The headers of every request to a server; the user's own win over the bearer token."""
    assert isinstance(server.source, (McpHttp, McpWebSocket))
    bearer = {"Authorization": f"Bearer {server.bearer_token}"} if server.bearer_token else {}
    own = dict(server.source.headers or {})
    given = {name.lower() for name in own}
    return {name: value for name, value in bearer.items() if name.lower() not in given} | own


@asynccontextmanager
async def process(server: McpServerConfigPy, trouble: Trouble) -> AsyncIterator[tuple[Any, Any]]:
    """Start a child process, which ends with the connection; its standard error goes to `trouble`."""
    source = server.source
    assert isinstance(source, McpProcess)
    environment = dict(os.environ) | dict(source.env or {})
    parameters = StdioServerParameters(
        command=source.command, args=list(source.args), env=environment, cwd=source.work_dir
    )
    ours, theirs = os.pipe()
    listener = threading.Thread(
        target=trouble.listen, args=(ours,), name=f"mcp-stderr-{server.id}", daemon=True
    )
    listener.start()
    with os.fdopen(theirs, "w") as errors:
        async with stdio_client(parameters, errlog=errors) as streams:
            yield streams


@asynccontextmanager
async def streamable(server: McpServerConfigPy, trouble: Trouble) -> AsyncIterator[tuple[Any, Any]]:
    """Streamable HTTP: a POST for every message."""
    url = server.source.url  # type: ignore[attr-defined]
    async with (
        client(server, trouble) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def events(server: McpServerConfigPy, trouble: Trouble) -> AsyncIterator[tuple[Any, Any]]:
    """HTTP with server-sent events: one GET that stays open, and POSTs."""

    def factory(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
        return client(server, trouble)

    async with sse_client(server.source.url, httpx_client_factory=factory) as streams:  # type: ignore[attr-defined]
        yield streams


@asynccontextmanager
async def frames(server: McpServerConfigPy, trouble: Trouble) -> AsyncIterator[tuple[Any, Any]]:
    """A WebSocket."""
    url = server.source.url  # type: ignore[attr-defined]
    try:
        async with websocket(url, headers(server), patience(server.source)) as streams:
            yield streams
    except InvalidStatus as error:
        trouble.status = error.response.status_code
        raise


def client(server: McpServerConfigPy, trouble: Trouble) -> httpx2.AsyncClient:
    """An HTTP client with the headers and the timeout of a server."""
    return httpx2.AsyncClient(
        headers=headers(server),
        timeout=httpx2.Timeout(patience(server.source), read=IDLE),
        event_hooks={"response": [trouble.note]},
    )
