"""The application: routes, errors, limits."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from mistralrs import __version__
from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError
from mistralrs.load.doctor import diagnose, system
from mistralrs.server import anthropic, chat, document, errors, models, page, responses, tune
from mistralrs.server.guard import Guard, Limits
from mistralrs.server.metrics import Metrics

EVERYBODY = Limits()


def build(
    runner: AsyncRunner,
    limits: Limits = EVERYBODY,
    origins: Sequence[str] = (),
    ui: bool = True,
    mcp: tuple[str, int] | None = None,
) -> FastAPI:
    """Return the application over a Runner, which the caller closes; `mcp` is the host and port of an MCP server."""
    app = FastAPI(title="mistralrs", version=__version__, responses=document.ERRORS)
    metrics = Metrics(runner.runner)
    document.describe(app)
    app.add_exception_handler(MistralRsError, errors.on_package_error)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_body)
    app.add_exception_handler(HTTPException, errors.on_http_error)
    app.add_exception_handler(Exception, errors.on_crash)
    app.include_router(chat.routes(runner, metrics))
    app.include_router(tune.routes(runner))
    app.include_router(machine())
    app.include_router(models.routes(runner))
    app.include_router(responses.routes(runner, metrics))
    app.include_router(anthropic.routes(runner, metrics))
    if ui:
        page.add(app)
    plain(app, metrics)
    if mcp is not None:
        from mistralrs.server.mcp import add  # needs another extra

        add(app, runner, metrics, *mcp, most=limits.body)
    app.add_middleware(Guard, limits=limits, metrics=metrics)
    if origins:  # outermost, so that refused requests have the headers too
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # official clients send several of their own
        )  # fmt: skip
    return app


def machine() -> APIRouter:
    """Return the routes about the machine."""
    router = APIRouter(tags=["System"])

    @router.get("/v1/system/info")
    def info() -> dict[str, Any]:
        """Describe the machine: versions, processor, memory, devices, kernels."""
        return system(__version__)

    @router.post("/v1/system/doctor")
    def doctor() -> dict[str, Any]:
        """Describe the machine and check what could stand in the way of a model."""
        return diagnose(__version__)

    return router


def plain(app: FastAPI, metrics: Metrics) -> None:
    """Add what needs no model."""

    text: dict[str, Any] = {"response_class": Response, "responses": document.PLAIN}

    @app.get("/", tags=["Server"], **text)
    @app.get("/health", tags=["Server"], **text)
    async def health() -> Response:
        """Tell that the server runs."""
        return PlainTextResponse("OK")

    @app.get("/metrics", tags=["Server"], **text)
    async def shown() -> Response:
        """Show counts and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api-doc/openapi.json", include_in_schema=False)
    async def older_address() -> Response:
        """Lead to the OpenAPI document."""
        return RedirectResponse("/openapi.json")
