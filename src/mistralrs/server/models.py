"""The models of the Runner: list, load, unload, requantize."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError
from mistralrs.runner import Runner
from mistralrs.server.bodies import IsqBody, ModelBody


def routes(runner: AsyncRunner) -> APIRouter:
    """Return the routes."""
    router, models = APIRouter(tags=["Models"]), Models(runner.runner)
    router.get("/v1/models")(models.every)
    router.get("/v1/models/{model_id:path}")(models.one)
    router.post("/v1/models/unload")(models.unload)
    router.post("/v1/models/reload")(models.reload)
    router.post("/v1/models/status")(models.status)
    router.post("/re_isq")(models.quantize)
    return router


class Models:
    """The models of a Runner as resources."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.started = runner, int(time.time())

    async def every(self) -> dict[str, Any]:
        """List the models, the default one first under the name `default`."""
        known = [self.entry(id, status) for id, status in self.runner.list_models_with_status()]
        default = self.runner.get_default_model_id()
        status = self.runner.get_model_status(default) if default else None
        return {"object": "list", "data": [self.entry("default", status or "unloaded"), *known]}

    async def one(self, model_id: str) -> Response:
        """Describe one model."""
        status = self.runner.get_model_status(model_id)
        return JSONResponse(self.entry(model_id, status)) if status else self.unknown(model_id)

    async def unload(self, body: ModelBody) -> Response:
        """Free a model's memory; the next request loads it again."""
        return await self.changed(body.model_id, self.runner.unload_model)

    async def reload(self, body: ModelBody) -> Response:
        """Load an unloaded model."""
        return await self.changed(body.model_id, self.runner.reload_model)

    async def status(self, body: ModelBody) -> Response:
        """Tell whether a model is loaded."""
        return await self.changed(body.model_id, lambda id: None)

    async def quantize(self, body: IsqBody) -> Response:
        """Quantize a model anew; answers when it is done."""
        await asyncio.to_thread(self.runner.send_re_isq, body.ggml_type, body.model_id)
        return PlainTextResponse(f"quantized to {body.ggml_type}")

    async def changed(self, id: str, change: Callable[[str], None]) -> Response:
        """Change a model and tell its status."""
        if self.runner.get_model_status(id) is None:
            return self.unknown(id)
        try:
            await asyncio.to_thread(change, id)
        except MistralRsError as error:
            value = {"model_id": id, "status": "internal_error", "error": str(error)}
            return JSONResponse(value, 500)
        return JSONResponse({"model_id": id, "status": self.runner.get_model_status(id)})

    def entry(self, id: str, status: str) -> dict[str, Any]:
        """Return a model as the OpenAI API describes it, and its status."""
        shared = {"object": "model", "created": self.started, "owned_by": "local"}
        return {"id": id, **shared, "status": status}

    def unknown(self, id: str) -> Response:
        """Return the answer for an id that is none."""
        known = ", ".join(name for name, _ in self.runner.list_models_with_status())
        error = f"no model '{id}' here; there are: {known}"
        return JSONResponse({"model_id": id, "status": "not_found", "error": error}, 404)
