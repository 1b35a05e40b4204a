"""`mistralrs serve`: the HTTP server."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api.errors import NotSupportedError
from mistralrs.cli.options import (
    KINDS,
    GlobalOptions,
    ModelOptions,
    RuntimeOptions,
    ServerOptions,
    takes,
)

if TYPE_CHECKING:
    from socket import socket

    from mistralrs.runner import Runner


@click.command(context_settings={"show_default": True})
@click.argument("kind", type=click.Choice(KINDS), default="auto", metavar="[KIND]")
@takes(ModelOptions, RuntimeOptions, ServerOptions, GlobalOptions)
def serve(
    model: ModelOptions,
    runtime: RuntimeOptions,
    server: ServerOptions,
    everywhere: GlobalOptions,
    kind: str,
) -> None:
    """Serve a model over HTTP, for clients of the OpenAI and Anthropic APIs.

    KIND is auto, text, vision, diffusion, speech or embedding.
    """
    from mistralrs.cli.start import start  # here, so that --help is quick

    check_packages(server)
    with bind(server) as bound, start(kind, model, runtime, everywhere) as runner:
        listen(runner, server, bound, everywhere.log)


def check_packages(server: ServerOptions) -> None:
    """Raise NotSupportedError where the server cannot run, before a model is loaded."""
    extras = "server,mcp" if server.mcp_port is not None else "server"
    try:
        import uvicorn  # noqa: F401

        import mistralrs.server.app  # noqa: F401
        from mistralrs.server.listen import unwatch

        if server.mcp_port is not None:
            import mistralrs.server.mcp  # noqa: F401
    except ImportError as error:
        raise NotSupportedError(
            f"the server needs more packages: pip install 'mistralrs[{extras}]' ({error})"
        ) from None
    unwatch()


@contextmanager
def bind(server: ServerOptions) -> "Iterator[list[socket]]":
    """The ports, taken before a model is loaded; raises RequestError when one cannot be had."""
    from mistralrs.server.listen import opened

    ports = [server.port] if server.mcp_port is None else [server.port, server.mcp_port]
    with ExitStack() as stack:
        yield [stack.enter_context(opened(server.host, port)) for port in ports]


def listen(runner: "Runner", server: ServerOptions, bound: "list[socket]", log: str | None) -> None:
    """Serve until a signal comes."""
    from mistralrs.aio import AsyncRunner
    from mistralrs.cli.journal import Journal
    from mistralrs.server.app import build
    from mistralrs.server.guard import Limits
    from mistralrs.server.listen import run

    limits = Limits(server.api_key, server.max_body_mb << 20, server.max_requests)
    main, *others = (one.getsockname()[1] for one in bound)
    mcp = (server.host, others[0]) if others else None
    app: Any = build(AsyncRunner(runner), limits, server.cors, server.ui, mcp)
    print(welcome(server, main, *others), file=sys.stderr, flush=True)
    run(Journal(app, log) if log else app, bound)


def welcome(server: ServerOptions, main: int, mcp: int | None = None) -> str:
    """Where to find what."""
    url = f"http://{server.host}:{main}"
    page = f", a page to chat at {url}/ui" if server.ui else ""
    tool = f", MCP at http://{server.host}:{mcp}/mcp" if mcp else ""
    return f"serving at {url}{page}{tool}"
