"""`mistralrs serve`: the HTTP server."""

import sys
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
    if server.mcp_port is not None:
        raise NotSupportedError(
            "serving a model over MCP is not available yet: leave --mcp-port out"
        )
    try:
        import uvicorn  # noqa: F401

        import mistralrs.server.app
        import mistralrs.server.listen  # noqa: F401
    except ImportError as error:
        raise NotSupportedError(
            f"the server needs more packages: pip install 'mistralrs[server]' ({error})"
        ) from None


def bind(server: ServerOptions) -> "socket":
    """The port, taken before a model is loaded; raises RequestError when it cannot be had."""
    from mistralrs.server.listen import opened

    return opened(server.host, server.port)


def listen(runner: "Runner", server: ServerOptions, bound: "socket", log: str | None) -> None:
    """Serve until a signal comes."""
    from mistralrs.aio import AsyncRunner
    from mistralrs.cli.journal import Journal
    from mistralrs.server.app import build
    from mistralrs.server.guard import Limits
    from mistralrs.server.listen import run

    limits = Limits(server.api_key, server.max_body_mb << 20, server.max_requests)
    app: Any = build(AsyncRunner(runner), limits, server.cors, server.ui)
    url = f"http://{server.host}:{bound.getsockname()[1]}"
    page = f", a page to chat at {url}/ui" if server.ui else ""
    print(f"serving at {url}{page}", file=sys.stderr, flush=True)
    run(Journal(app, log) if log else app, bound)
