"""The models of the Runner: list, load, unload, requantize."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError
from mistralrs.server.bodies import IsqBody, ModelBody


def routes(runner: AsyncRunner) -> APIRouter:
    """Return the routes."""
    router, inner, started = APIRouter(tags=["Models"]), runner.runner, int(time.time())

    def entry(id: str, status: str) -> dict[str, Any]:
        return {
            "id": id,
            "object": "model",
            "created": started,
            "owned_by": "local",
            "status": status,
        }

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the models, the default one first under the name `default`."""
        known = [entry(id, status) for id, status in inner.list_models_with_status()]
        default = inner.get_default_model_id()
        status = inner.get_model_status(default) if default else None
        return {"object": "list", "data": [entry("default", status or "unloaded"), *known]}

    @router.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> Response:
        """Describe one model."""
        status = inner.get_model_status(model_id)
        return JSONResponse(entry(model_id, status)) if status else unknown(model_id)

    @router.post("/v1/models/unload")
    async def unload(body: ModelBody) -> Response:
        """Free a model's memory; the next request loads it again."""
        return await changed(body.model_id, inner.unload_model)

    @router.post("/v1/models/reload")
    async def reload(body: ModelBody) -> Response:
        """Load an unloaded model."""
        return await changed(body.model_id, inner.reload_model)

    @router.post("/v1/models/status")
    async def status(body: ModelBody) -> Response:
        """Tell whether a model is loaded."""
        return await changed(body.model_id, lambda id: None)

    async def changed(id: str, change: Callable[[str], None]) -> Response:
        if inner.get_model_status(id) is None:
            return unknown(id)
        try:
            await asyncio.to_thread(change, id)
        except MistralRsError as error:
            value = {"model_id": id, "status": "internal_error", "error": str(error)}
            return JSONResponse(value, 500)
        return JSONResponse({"model_id": id, "status": inner.get_model_status(id)})

    def unknown(id: str) -> Response:
        known = ", ".join(name for name, _ in inner.list_models_with_status())
        error = f"no model '{id}' here; there are: {known}"
        return JSONResponse({"model_id": id, "status": "not_found", "error": error}, 404)

    @router.post("/re_isq")
    async def re_isq(body: IsqBody) -> Response:
        """Quantize a model anew; answers when it is done."""
        await asyncio.to_thread(inner.send_re_isq, body.ggml_type, body.model_id)
        return PlainTextResponse(f"quantized to {body.ggml_type}")

    return router
