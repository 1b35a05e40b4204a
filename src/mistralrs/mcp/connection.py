"""One MCP server: connected, listed, called, and connected again after it went away."""

import asyncio
import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mcp_types as types
import pydantic
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

from mistralrs.api.errors import ToolError
from mistralrs.api.mcp import McpServerConfigPy
from mistralrs.api.toolbox import Outcome
from mistralrs.mcp.content import outcome
from mistralrs.mcp.listing import everything, sound_tools
from mistralrs.mcp.transport import Trouble, Way, patience, ways

log = logging.getLogger("mistralrs")

ATTEMPTS = 5  # failures in a row after which only a call makes us try again
LONGEST = 60.0  # seconds between two attempts
CALM = 0.5  # seconds between two readings of a list that keeps changing
GOODBYE = (
    7.0  # seconds until a transport that does not end is left behind; a process is killed after 4
)
CLOSED = "Connection closed"  # the package's words
GONE = ("Session terminated", "Session not found")  # an HTTP server that was started again


class Dispatcher(JSONRPCDispatcher):
    """The package's dispatcher, which also tells when the connection ends."""

    def __init__(self, read: Any, write: Any, ended: asyncio.Event):
        super().__init__(read, write)
        self.ended = ended

    async def run(self, *args: Any, **kwargs: Any) -> None:
        """Work until the connection ends."""
        try:
            await super().run(*args, **kwargs)
        finally:
            self.ended.set()


class Connection:
    """A server and its tools. Everything but the attributes is for the client's event loop."""

    def __init__(self, server: McpServerConfigPy):
        self.server = server
        self.patience = patience(server.source)
        self.ways = ways(server.source)
        self.tools: dict[str, dict[str, Any]] = {}  # as listed, by their own names
        self.error: str | None = None  # why there is no connection
        self.session: ClientSession | None = None
        self.dispatcher: Dispatcher | None = None
        self.settled = asyncio.Event()  # the first attempt is over
        self.failed = asyncio.Event()  # an attempt failed since this was cleared
        self.up = asyncio.Event()
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()
        self.wanted = asyncio.Event()

    # Life.

    async def keep(self) -> None:
        """Hold the connection until canceled."""
        failures = 0
        while True:
            was_up, why = await self.attempt()
            failures = 0 if was_up else failures + 1
            level = logging.DEBUG if why == self.error else logging.WARNING  # told once
            log.log(level, "MCP server '%s': %s", self.server.id, why)
            self.error = why
            self.settled.set()
            if not was_up:
                self.failed.set()
            await self.pause(failures)

    async def attempt(self) -> tuple[bool, str]:
        """Connect in each way until one works, and stay; whether it did, and why it is over."""
        told = []
        for way in list(self.ways):
            trouble = Trouble()
            try:
                await self.stay(way, trouble)
                return True, f"the connection ended; connecting again {trouble}".rstrip()
            except Exception as error:
                told.append(reason(error, trouble))
                if self.up.is_set() or trouble.status in (401, 403):
                    break
            finally:
                was_up = self.up.is_set()
                self.session = self.dispatcher = None
                self.up.clear()
        return was_up, "; ".join(dict.fromkeys(told))

    async def pause(self, failures: int) -> None:
        """Wait before the next attempt: longer after each failure, no longer than until a call comes."""
        self.wanted.clear()
        seconds = min(2.0**failures / 2, LONGEST) if failures < ATTEMPTS else None
        try:
            await asyncio.wait_for(self.wanted.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return

    async def stay(self, way: Way, trouble: Trouble) -> None:
        """Connect within the patience of the server, and return when the connection ends."""
        life = asyncio.ensure_future(self.live(way, trouble))
        up = asyncio.ensure_future(self.up.wait())
        try:
            await asyncio.wait({life, up}, timeout=self.patience, return_when="FIRST_COMPLETED")
            if not self.up.is_set() and not life.done():
                raise TimeoutError(f"no connection within {self.patience:g} s")
            await asyncio.shield(life)
        finally:
            up.cancel()
            await self.part(life)

    async def part(self, life: "asyncio.Future[None]") -> None:
        """End a connection in good order where it is up, and by cancellation where it still connects."""
        self.ended.set()
        if not self.up.is_set():
            life.cancel()
        await asyncio.wait({life}, timeout=GOODBYE)
        life.cancel()

    async def live(self, way: Way, trouble: Trouble) -> None:
        """Shake hands, list the tools, and list them again when they change, until the connection ends."""
        self.ended.clear()
        self.changed.clear()
        async with way(self.server, trouble) as (read, write):
            dispatcher = Dispatcher(read, write, self.ended)
            handler = ClientSession(
                dispatcher=dispatcher, message_handler=self.heard, client_info=ourselves()
            )
            async with handler as session:
                await session.initialize()
                self.session, self.dispatcher = session, dispatcher
                await self.learn()
                self.ways, self.error = [way], None
                self.up.set()
                self.settled.set()
                while await self.news():
                    await self.learn()
                    await asyncio.sleep(CALM)

    async def news(self) -> bool:
        """Wait; True when the tools changed, False when the connection ended."""
        await first(self.changed, self.ended)
        self.changed.clear()
        return not self.ended.is_set()

    async def heard(self, message: Any) -> None:
        """Take a notification."""
        if isinstance(message, types.ToolListChangedNotification):
            self.changed.set()

    async def learn(self) -> None:
        """Read the list of tools."""
        self.tools = sound_tools(self.server.id, await everything(self.ask, "tools/list", "tools"))

    # Requests.

    async def ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """A request whose result is not validated, so that one broken item does not hide the others."""
        session, dispatcher = self.session, self.dispatcher
        assert session is not None
        assert dispatcher is not None
        spoken = {MCP_PROTOCOL_VERSION_HEADER: session.protocol_version or ""}
        return await dispatcher.send_raw_request(
            method, parameters, {"timeout": self.patience, "headers": spoken}
        )

    async def call(self, name: str, arguments: Mapping[str, Any], timeout: float) -> Outcome:
        """Call a tool by its own name; every failure is a ToolError."""
        parameters = types.CallToolRequestParams(name=name, arguments=dict(arguments))
        request = types.CallToolRequest(params=parameters)
        return outcome(await self.send(request, types.CallToolResult, timeout, f"tool '{name}'"))

    async def resources(self) -> list[dict[str, Any]]:
        """What the server lists."""
        await self.connected(self.patience)
        return await everything(self.ask, "resources/list", "resources")

    async def read(self, uri: str, timeout: float) -> list[Any]:
        """The contents of a resource."""
        request = types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri=uri))
        result = await self.send(request, types.ReadResourceResult, timeout, f"resource '{uri}'")
        return list(result.contents)

    async def send(self, request: Any, kind: Any, timeout: float, what: str) -> Any:
        """Send a request; once more, over a new connection, where the server has forgotten the old one."""
        session = await self.connected(timeout)
        try:
            try:
                return await session.send_request(request, kind, timeout)
            except MCPError as error:
                if error.message not in GONE:
                    raise
            self.leave()
            session = await self.connected(timeout)
            return await session.send_request(request, kind, timeout)
        except MCPError as error:
            if error.message == CLOSED:
                self.leave()
            raise self.failure(error, timeout, what) from None
        except pydantic.ValidationError as error:
            raise ToolError(f"{what}: the server's answer is not valid MCP: {error}") from None

    async def connected(self, timeout: float) -> ClientSession:
        """The session; connects first if need be."""
        if self.session is None or self.ended.is_set():
            self.failed.clear()
            self.wanted.set()
            await first(self.up, self.failed, timeout=min(timeout, self.patience))
        if self.session is None:
            why = self.error or "still connecting"
            raise ToolError(f"MCP server '{self.server.id}' is not connected: {why}")
        return self.session

    def leave(self) -> None:
        """Give the connection up and make a new one."""
        self.up.clear()
        self.session = None
        self.ended.set()

    def failure(self, error: MCPError, timeout: float, what: str) -> ToolError:
        """What the model and the user are told."""
        here = f"MCP server '{self.server.id}', {what}"
        if error.code == types.REQUEST_TIMEOUT:
            return ToolError(f"{here}: no answer within {timeout:g} s")
        if self.ended.is_set():
            return ToolError(f"{here}: the server went away during the call")
        return ToolError(f"{here}: {error.message}")


async def first(*events: asyncio.Event, timeout: float | None = None) -> None:
    """Wait until one of the events is set, or until the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when="FIRST_COMPLETED")
    finally:
        for wait in waits:
            wait.cancel()


def reason(error: BaseException, trouble: Trouble) -> str:
    """A failed attempt in one line: the innermost exception, and what the transport knows."""
    while inner := getattr(error, "exceptions", None):  # an exception group
        error = inner[0]
    known = str(trouble)
    text = (str(error) or type(error).__name__).partition("\n")[0]
    return f"{text} ({known})" if known and known not in text else text


def ourselves() -> types.Implementation:
    """How we introduce ourselves to a server."""
    try:
        return types.Implementation(name="mistralrs", version=version("mistralrs"))
    except PackageNotFoundError:  # run from a checkout
        return types.Implementation(name="mistralrs", version="0")
