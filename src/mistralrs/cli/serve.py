"""`mistralrs serve`: the HTTP server."""

import asyncio
import sys
from dataclasses import dataclass

import click

from mistralrs.api.errors import NotSupportedError
from mistralrs.cli.options import (
    AT_LEAST_1,
    KINDS,
    GlobalOptions,
    ModelOptions,
    RuntimeOptions,
    option,
    takes,
)
from mistralrs.cli.start import start


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens, and whom it lets in."""

    host: str = option("--host", default="127.0.0.1", help="Address; 0.0.0.0: every network.")
    port: int = option("-p", "--port", default=1234, type=click.IntRange(0, 65535), help="Port.")
    api_key: tuple[str, ...] = option(
        "--api-key",
        default=(),
        multiple=True,
        envvar="MISTRALRS_API_KEY",
        help="Key that clients must send; several are possible.",
    )
    cors: tuple[str, ...] = option(
        "--cors", default=(), multiple=True, help="Origin of web pages that may call, or '*'."
    )
    max_requests: int = option(
        "--max-requests", default=256, type=AT_LEAST_1, help="Requests in flight; more get a 429."
    )
    max_body_mb: int = option(
        "--max-body-mb", default=50, type=AT_LEAST_1, help="Largest body of a request."
    )
    no_ui: bool = option("--no-ui", default=False, is_flag=True, help="Leave out the page at /ui.")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), default="auto")
@takes(ModelOptions, RuntimeOptions, GlobalOptions, ServerOptions)
def serve(
    model: ModelOptions,
    runtime: RuntimeOptions,
    everywhere: GlobalOptions,
    server: ServerOptions,
    kind: str,
) -> None:
    """Serve a model over HTTP, for clients of the OpenAI and Anthropic APIs."""
    try:
        import uvicorn

        from mistralrs.server.app import build
        from mistralrs.server.guard import Limits
    except ImportError as error:
        raise NotSupportedError(
            f"the server needs more packages: pip install 'mistralrs[server]' ({error})"
        ) from None
    from mistralrs.aio import AsyncRunner

    with start(kind, model, runtime, everywhere) as runner:
        limits = Limits(server.api_key, server.max_body_mb << 20, server.max_requests)
        app = build(AsyncRunner(runner), limits, server.cors, not server.no_ui)
        config = uvicorn.Config(
            app, server.host, server.port, log_level="warning", timeout_graceful_shutdown=30
        )
        print(f"serving at http://{server.host}:{server.port}", file=sys.stderr, flush=True)
        asyncio.run(uvicorn.Server(config).serve())
