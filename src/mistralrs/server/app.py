"""The application: routes, errors, limits."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from mistralrs import __version__
from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError
from mistralrs.server import anthropic, chat, errors, models, responses
from mistralrs.server.guard import Guard, Limits, Metrics

UI = Path(__file__).parent / "ui"
EVERYBODY = Limits()


def build(
    runner: AsyncRunner, limits: Limits = EVERYBODY, origins: Sequence[str] = (), ui: bool = True
) -> FastAPI:
    """Return the application over a Runner, which the caller closes."""
    app, metrics = FastAPI(title="mistralrs", version=__version__), Metrics()
    app.add_exception_handler(MistralRsError, errors.on_package_error)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_body)
    app.add_exception_handler(HTTPException, errors.on_http_error)
    app.include_router(chat.routes(runner, metrics))
    app.include_router(models.routes(runner))
    app.include_router(responses.routes(runner, metrics))
    app.include_router(anthropic.routes(runner, metrics))
    plain(app, metrics)
    if ui and UI.is_dir():
        app.mount("/ui", StaticFiles(directory=UI, html=True), "ui")
    app.add_middleware(Guard, limits=limits, metrics=metrics)
    if origins:  # outermost, so that refused requests have the headers too
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Content-Type", "Authorization"],
        )  # fmt: skip
    return app


def plain(app: FastAPI, metrics: Metrics) -> None:
    """Add what needs no model."""

    @app.get("/", response_class=PlainTextResponse, tags=["Server"])
    @app.get("/health", response_class=PlainTextResponse, tags=["Server"])
    async def health() -> str:
        """Tell that the server runs."""
        return "OK"

    @app.get("/metrics", tags=["Server"])
    async def shown() -> Response:
        """Show counts and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api-doc/openapi.json", include_in_schema=False)
    async def document() -> Response:
        """Lead to the OpenAPI document."""
        return RedirectResponse("/openapi.json")
