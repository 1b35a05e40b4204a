"""The client of all MCP servers of a runner, with one event loop in a thread of its own."""

import asyncio
import logging
import threading
import weakref
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from mistralrs.api.enums import AgentToolSource
from mistralrs.api.errors import ToolError
from mistralrs.api.mcp import McpClientConfigPy
from mistralrs.api.toolbox import Outcome, Tool
from mistralrs.mcp.connection import Connection

log = logging.getLogger("mistralrs")
T = TypeVar("T")

CALL_SECONDS = 30.0
CALLS = 10  # at the same time
GOODBYE = 10.0  # seconds for all servers to end


class Loop:
    """An event loop in a daemon thread, and the tasks that keep the connections."""

    def __init__(self, connections: list[Connection]):
        self.loop = asyncio.new_event_loop()
        self.connections = connections
        self.tasks: list[asyncio.Task[None]] = []
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="mcp", daemon=True)
        self.thread.start()

    def run(self) -> None:
        """The thread."""
        asyncio.set_event_loop(self.loop)
        self.tasks = [self.loop.create_task(c.keep()) for c in self.connections]
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start something in the loop."""
        if self.closed:
            work.close()
            raise ToolError("the MCP client is closed")
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the connections and the child processes; returns when they are gone."""
        if self.closed:
            return
        goodbye = asyncio.run_coroutine_threadsafe(self.end(), self.loop)
        self.closed = True
        try:
            goodbye.result(GOODBYE)
        except FutureTimeoutError:
            log.warning("an MCP server did not end within %g s", GOODBYE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(GOODBYE)

    async def end(self) -> None:
        """Cancel what runs, and wait for it."""
        ours = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        kept = [task for task in self.tasks if not task.done()]
        for task in kept:
            task.cancel()
        if kept:
            await asyncio.wait(kept)
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)


class McpClient:
    """Connects to servers in the background. Closing it, dropping it or leaving Python ends child processes."""

    def __init__(self, config: McpClientConfigPy):
        self.config = config
        self.connections = {s.id: Connection(s) for s in config.servers if s.enabled}
        self.timeout = config.tool_timeout_secs or CALL_SECONDS
        self._slots = asyncio.Semaphore(config.max_concurrent_calls or CALLS)
        self._loop = Loop(list(self.connections.values()))
        self._end = weakref.finalize(self, self._loop.close)
        self._told: set[str] = set()

    # Tools.

    def wait(self) -> None:
        """Wait until every server is connected or has failed for the first time."""
        self._loop.submit(settled(list(self.connections.values()))).result()

    def tools(self) -> list[Tool]:
        """The tools of all connected servers, as they are named for the model; of one name the last counts."""
        found: dict[str, Tool] = {}
        for id, connection in self.connections.items():
            for listed in list(connection.tools.values()):
                tool = self._tool(connection, listed)
                if tool.name in found:
                    self._warn_once(tool.name, id)
                found[tool.name] = tool
        return list(found.values())

    def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> Outcome:
        """Call a tool by the name that the model sees; raises ToolError."""
        tools = {tool.name: tool for tool in self.tools()}
        if name not in tools:
            raise ToolError(f"no MCP tool '{name}'; there are: {', '.join(tools) or 'none'}")
        return tools[name].start(dict(arguments or {})).result()

    # Resources.

    def resources(self, server: str | None = None) -> list[dict[str, Any]]:
        """The resources that match the patterns of their server, as the servers describe them."""
        chosen = self.connections.values() if server is None else [self._connection(server)]
        started = [(c, self._loop.submit(c.resources())) for c in chosen]
        return [r for c, f in started for r in f.result() if permitted(c, str(r.get("uri", "")))]

    def read_resource(self, server: str, uri: str) -> list[Any]:
        """The contents of a resource: objects with `uri`, `mime_type` and `text` or `blob`."""
        connection = self._connection(server)
        if not permitted(connection, uri):
            raise ToolError(f"'{uri}' matches no pattern in the resources of server '{server}'")
        return self._loop.submit(connection.read(uri, self.timeout)).result()

    # Life.

    def status(self) -> dict[str, str]:
        """What became of each server: "connected", "connecting", or what is wrong."""
        return {
            id: "connected" if c.up.is_set() else c.error or "connecting"
            for id, c in self.connections.items()
        }

    def close(self) -> None:
        """End all connections and child processes."""
        self._end()

    def __enter__(self) -> "McpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self, server: str) -> Connection:
        if server not in self.connections:
            raise ToolError(f"no MCP server '{server}'; there are: {', '.join(self.connections)}")
        return self.connections[server]

    def _tool(self, connection: Connection, listed: Mapping[str, Any]) -> Tool:
        prefix = connection.server.tool_prefix
        name = f"{prefix}_{listed['name']}" if prefix else listed["name"]
        described = {"description": listed["description"]} if listed.get("description") else {}
        function = {"name": name, **described, "parameters": listed["inputSchema"]}
        return Tool(
            name,
            partial(self._start, connection, listed["name"]),
            {"type": "function", "function": function},
            AgentToolSource.Mcp,
        )

    def _start(
        self, connection: Connection, name: str, arguments: dict[str, Any]
    ) -> "Future[Outcome]":
        return self._loop.submit(limited(self._slots, connection, name, arguments, self.timeout))

    def _warn_once(self, name: str, id: str) -> None:
        if name not in self._told:
            self._told.add(name)
            log.warning(
                "several MCP servers have a tool '%s'; that of '%s' is used: set tool_prefix",
                name,
                id,
            )


async def limited(
    slots: asyncio.Semaphore,
    connection: Connection,
    name: str,
    arguments: Mapping[str, Any],
    timeout: float,
) -> Outcome:
    """A call that waits for its turn."""
    async with slots:
        return await connection.call(name, arguments, timeout)


async def settled(connections: list[Connection]) -> None:
    """Wait for the first attempt of every connection."""
    await asyncio.gather(*(c.settled.wait() for c in connections))


def permitted(connection: Connection, uri: str) -> bool:
    """Whether a resource matches one of its server's patterns; without patterns all do."""
    patterns = connection.server.resources
    return patterns is None or any(fnmatchcase(uri, pattern) for pattern in patterns)
