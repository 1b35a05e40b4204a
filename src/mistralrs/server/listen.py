"""Listening: the port, the signals, the end."""

import asyncio
import gc
import os
import socket
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from mistralrs.api.errors import RequestError
from mistralrs.server.wire import Wire

DRAIN = 30  # seconds that running requests get after the first signal


def opened(host: str, port: int) -> socket.socket:
    """Return a bound socket, before a model is loaded for nothing; RequestError for a port that cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two servers share a port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(2048)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise RequestError(
            f"cannot listen at {host}:{port} ({error.strerror or error}); stop what uses it, or choose "
            "another --port or --host"
        ) from None
    return bound


class Server(uvicorn.Server):
    """A server that the first signal lets finish its requests, and that the second one ends at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.should_exit:
            os._exit(128 + sig)  # nothing can hold it up, not even a model that is being loaded
        self.should_exit = True


def run(app: Any, bound: Sequence[socket.socket], patience: float = 30.0) -> None:
    """Serve until a signal comes, and then what is in flight, for at most DRAIN seconds."""
    config = uvicorn.Config(
        app, http=partial(Wire, patience=patience), log_level="warning",  # type: ignore[arg-type]
        timeout_graceful_shutdown=DRAIN,
    )  # fmt: skip
    roomy()
    quick_loop().run(Server(config).serve(list(bound)))


def quick_loop() -> Any:
    """Return uvloop, or asyncio where it does not exist (Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio
    return uvloop


def unwatch() -> None:
    """Leave what is imported by now out of garbage collections, each of which would halt every stream for 0.1 s."""
    gc.collect()
    gc.freeze()


def roomy() -> None:
    """Allow as many connections as the system lets this process have."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
