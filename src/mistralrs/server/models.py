"""The models of the Runner: list, load, unload, requantize."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError, ModelNotFoundError
from mistralrs.server import document
from mistralrs.server.bodies import IsqBody, ModelBody


def routes(runner: AsyncRunner) -> APIRouter:
    """Return the routes."""
    router, models = APIRouter(tags=["Models"]), Models(runner)
    router.get("/v1/models")(models.every)
    router.post("/v1/models/unload", responses=document.STATES)(models.unload)
    router.post("/v1/models/reload", responses=document.STATES)(models.reload)
    router.post("/v1/models/status", responses=document.STATES)(models.status)
    router.get("/v1/models/{model_id:path}")(models.one)
    router.post("/re_isq", response_class=Response, responses=document.PLAIN)(models.quantize)
    return router


class Models:
    """The models of a Runner as resources."""

    def __init__(self, runner: AsyncRunner) -> None:
        self.runner, self.started = runner, int(time.time())

    async def every(self) -> dict[str, Any]:
        """List the models, the default one first under the name `default`."""
        known = [self.entry(id, status) for id, status in self.runner.list_models_with_status()]
        default = self.runner.get_default_model_id()
        status = self.runner.get_model_status(default) if default else None
        return {"object": "list", "data": [self.entry("default", status or "unloaded"), *known]}

    async def one(self, model_id: str) -> dict[str, Any]:
        """Describe one model."""
        status = self.runner.get_model_status(model_id)
        if status is None:
            raise ModelNotFoundError(self.unknown(model_id))
        return self.entry(model_id, status)

    async def unload(self, body: ModelBody) -> Response:
        """Free a model's memory; the next request loads it again."""
        return await self.changed(body.model_id, self.runner.unload_model(body.model_id))

    async def reload(self, body: ModelBody) -> Response:
        """Load an unloaded model."""
        return await self.changed(body.model_id, self.runner.reload_model(body.model_id))

    async def status(self, body: ModelBody) -> Response:
        """Tell whether a model is loaded."""
        return await self.changed(body.model_id, None)

    async def quantize(self, body: IsqBody) -> Response:
        """Quantize a model anew; answers when it is done."""
        await asyncio.to_thread(self.runner.runner.send_re_isq, body.ggml_type, body.model_id)
        return PlainTextResponse(f"quantized to {body.ggml_type}")

    async def changed(self, id: str, change: Awaitable[None] | None) -> Response:
        """Wait for a change of a model and tell its status."""
        try:
            if change is not None:
                await change
        except ModelNotFoundError:
            return self.missing(id)
        except MistralRsError as error:
            value = {"model_id": id, "status": "internal_error", "error": str(error)}
            return JSONResponse(value, 500)
        status = self.runner.get_model_status(id)
        return JSONResponse({"model_id": id, "status": status}) if status else self.missing(id)

    def entry(self, id: str, status: str) -> dict[str, Any]:
        """Return a model as the OpenAI API describes it, and its status."""
        shared = {"object": "model", "created": self.started, "owned_by": "local"}
        root = self.runner.get_default_model_id() if id == "default" else id
        does = self.runner.runner.modalities(root) if root else None
        known = {} if does is None else {"modalities": does}
        return {"id": id, **shared, "root": root, "status": status, **known}

    def missing(self, id: str) -> Response:
        """Return the answer about an id that is none."""
        value = {"model_id": id, "status": "not_found", "error": self.unknown(id)}
        return JSONResponse(value, 404)

    def unknown(self, id: str) -> str:
        """Return the message for an id that is none."""
        known = ", ".join(name for name, _ in self.runner.list_models_with_status())
        return f"no model '{id}' here; there are: {known}"
