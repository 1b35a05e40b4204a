"""MCP over a WebSocket: one JSON-RPC message per text frame, subprotocol `mcp`.

The official package dropped this transport in version 2; servers of version 1 still speak it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

LARGEST = 16 << 20  # bytes of a message


@asynccontextmanager
async def websocket(
    url: str, headers: Mapping[str, str], timeout: float
) -> AsyncIterator[tuple[Any, Any]]:
    """Connect within `timeout` seconds; yields the streams of incoming and outgoing messages."""
    connection = connect(
        url,
        subprotocols=[Subprotocol("mcp")],
        additional_headers=dict(headers),
        open_timeout=timeout,
        max_size=LARGEST,
        proxy=None,
    )
    arrived, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    streams = arrived, incoming, outgoing, leaving
    async with connection as socket, anyio.create_task_group() as tasks:
        tasks.start_soon(receive, socket, arrived)
        tasks.start_soon(send, socket, leaving)
        yield incoming, outgoing
        tasks.cancel_scope.cancel()
        for stream in streams:
            stream.close()


async def receive(socket: ClientConnection, arrived: Any) -> None:
    """Hand frames on until the connection ends; what is no message is handed on as an exception."""
    async with arrived:
        try:
            async for frame in socket:
                await arrived.send(parsed(frame))
        except (ConnectionClosed, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # the closed stream tells the session


async def send(socket: ClientConnection, leaving: Any) -> None:
    """Send messages until the session or the connection ends."""
    async with leaving:
        try:
            async for item in leaving:
                await socket.send(item.message.model_dump_json(by_alias=True, exclude_unset=True))
        except ConnectionClosed:
            return


def parsed(frame: str | bytes) -> SessionMessage | Exception:
    """The message of a frame."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(frame, by_name=False))
    except ValueError as error:
        return error
