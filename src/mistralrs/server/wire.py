"""Connections: writes are gathered, and slow clients given up, so that no number of them keeps others waiting."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Gathered:
    """A transport that sends what was written in one round of the event loop at once: a write costs a system call,
    and takes the interpreter's lock from the engine twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Send soon."""
        if not self.parts:
            self.loop.call_soon(self.flush)
        self.parts.append(data)

    def flush(self) -> None:
        """Send now."""
        if self.parts:
            self.transport.write(b"".join(self.parts))
            self.parts.clear()

    def close(self) -> None:
        """Send everything and close."""
        self.flush()
        self.transport.close()


class Wire(HttpToolsProtocol):
    """A connection of uvicorn that ends when a client takes `patience` seconds for the head of a request, or takes
    nothing of its answer for that long.
    """

    def __init__(self, *args: Any, patience: float = 30.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.patience = patience
        self.waiting: asyncio.TimerHandle | None = None  # for the rest of a head
        self.stalled: asyncio.TimerHandle | None = None  # until the client reads on

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(Gathered(transport, self.loop))  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; wait on if the head is not complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the timers."""
        super().connection_lost(error)
        for timer in (self.waiting, self.stalled):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        super().pause_writing()
        self.stalled = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        if self.stalled is not None:
            self.stalled.cancel()

    def _watch(self) -> None:
        """Start the timer at the first byte of a head and stop it at the last."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        elif not busy and self.waiting is None:
            self.waiting = self.loop.call_later(self.patience, self._late)

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a client that asks for a WebSocket is told by the status."""
