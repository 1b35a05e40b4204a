"""Which quantization of a model fits here: `mistralrs tune` for clients.

A stranger may name any model, so little is done for one: of the hub alone, config.json is read, with the client's own
token, into a folder that is removed; its numbers have bounds; and one question is answered at a time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import APIRouter, Request

from mistralrs.aio import AsyncRunner
from mistralrs.api.enums import ModelDType
from mistralrs.api.errors import (
    CheckpointError,
    ConfigError,
    ModelNotFoundError,
    OutOfMemoryError,
    RequestError,
)
from mistralrs.api.options import TextAutoMapParams, VisionAutoMapParams
from mistralrs.api.which import Which, WhichPlain, WhichVisionPlain
from mistralrs.load.advise import NOTES, Question, advise, tunable
from mistralrs.load.bounds import check_bounds
from mistralrs.load.hub import Repo, open_config, open_repo
from mistralrs.server.bodies import TuneBody, given
from mistralrs.server.work import while_connected

Report = dict[str, Any]


def routes(runner: AsyncRunner) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["Models"])
    # A thread of its own: a slow hub keeps no chat waiting, and a client that leaves frees its place.
    pool = ThreadPoolExecutor(1, "mistralrs-tune")

    @router.post("/v1/models/tune")
    async def tune(body: TuneBody, request: Request) -> Report:
        """Recommend a quantization that fits this machine's memory, for a model of this server or of the hub."""
        work = asyncio.get_running_loop().run_in_executor(pool, sensible, answering(runner, body))
        return await while_connected(request, work)

    return router


def answering(runner: AsyncRunner, body: TuneBody) -> Callable[[], Report]:
    """Return what answers a question, in a thread."""
    token = body.token  # a mistake shows at once
    try:
        source = runner.runner.source(None if body.model_id == "default" else body.model_id)
    except ModelNotFoundError:
        return lambda: foreign(body, token)
    return lambda: own(body, source)


def sensible(answer: Callable[[], Report]) -> Report:
    """Return the report; what makes none is no mistake of the server, and no reason to try again."""
    try:
        return answer()
    except (CheckpointError, ConfigError, OutOfMemoryError) as error:
        raise RequestError(str(error)) from error


def own(body: TuneBody, source: Which) -> Report:
    """Return the report about a model of this server, from the files that it was loaded from."""
    which = tunable(source)
    if body.hf_revision:
        raise RequestError(f"hf_revision: '{body.model_id}' is loaded from main here; leave it out")
    repo = open_repo(which.model_id, token_source="none", cache=which.hf_cache_path)
    return advised(repo, body, which) | {"model_id": body.model_id}


def foreign(body: TuneBody, token: str | None) -> Report:
    """Return the report about a model of the hub."""
    with TemporaryDirectory(prefix="mistralrs-tune-") as folder:
        repo = open_config(body.model_id, body.hf_revision, token, Path(folder))
        check_bounds(repo.json("config.json") or {})
        return advised(repo, body, WhichPlain(body.model_id))


def advised(repo: Repo, body: TuneBody, which: WhichPlain | WhichVisionPlain) -> Report:
    """Return the report for the wishes of a body."""
    limits = VisionAutoMapParams if isinstance(which, WhichVisionPlain) else TextAutoMapParams
    room = given(max_seq_len=body.max_seq_len, max_batch_size=body.max_batch_size)
    changes = given(
        dtype=body.dtype and ModelDType(body.dtype),
        auto_map_params=limits(**room) if room else None,
    )
    wanted = replace(which, **changes)
    found = advise(repo, Question(wanted, body.profile, body.requested_isq, cpu=body.cpu))
    images = body.max_num_images or body.max_image_length
    return found | {"notes": [*found["notes"], *([NOTES["images"]] if images else [])]}
