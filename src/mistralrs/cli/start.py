"""Options -> a loaded Runner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api import choose, mcp_file
from mistralrs.api.config import ConfigFile
from mistralrs.api.errors import MistralRsError, NotSupportedError, RequestError
from mistralrs.api.which import Which, WhichEmbedding
from mistralrs.cli.options import GlobalOptions, ModelOptions, RuntimeOptions
from mistralrs.cli.progress import shown
from mistralrs.demo import model_path

if TYPE_CHECKING:
    from mistralrs.runner import Runner

# Options of a model that are arguments of Runner, and those that are neither's.
OF_RUNNER = ("isq", "device_layers")
OF_PROCESS = ("cpu",)


def present(**values: Any) -> dict[str, Any]:
    """The arguments that were given; the SDK's own defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


def named_model(model: ModelOptions) -> str:
    """The model's hub id or folder."""
    return model.model_id or str(model_path())


@contextmanager
def usage() -> Iterator[None]:
    """Errors of options are errors of usage."""
    try:
        yield
    except MistralRsError as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from error


def which(kind: str, model: ModelOptions) -> Which:
    """The member of Which that the options describe; a folder of sentence-transformers is an embedding model."""
    given = {**asdict(model), "model_id": named_model(model)}
    for name in (*OF_RUNNER, *OF_PROCESS):
        given.pop(name)
    if kind == "auto" and (Path(named_model(model)) / "modules.json").is_file():
        kind = "embedding"
    return choose.which(kind, given)


def refuse_silent(target: Which) -> None:
    """An embedding model cannot answer."""
    if isinstance(target, WhichEmbedding):
        raise NotSupportedError(
            "an embedding model does not converse: serve it with `mistralrs serve embedding`, or call "
            "Runner.send_embedding_request"
        )


def arguments(
    model: ModelOptions, runtime: RuntimeOptions, everywhere: GlobalOptions
) -> dict[str, Any]:
    """The other arguments of Runner."""
    sizes = present(
        pa_ctxt_len=runtime.pa_context_len,
        pa_gpu_mem=runtime.pa_memory_mb,
        pa_gpu_mem_usage=runtime.pa_memory_fraction,
    )
    if len(sizes) > 1:
        raise RequestError(
            "--pa-context-len, --pa-memory-mb and --pa-memory-fraction exclude each other: give one"
        )
    if runtime.search_embedding_model and not runtime.enable_search:
        raise RequestError("--search-embedding-model needs --enable-search")
    refuse_cache_type(runtime.pa_cache_type)
    return dict(
        max_seqs=runtime.max_seqs,
        no_kv_cache=runtime.no_kv_cache,
        prefix_cache_n=runtime.prefix_cache_n,
        **sizes,
        **paging(runtime.paged_attn),
        **({"enable_search": True} if runtime.enable_search else {}),
        **present(
            in_situ_quant=model.isq,
            num_device_layers=model.device_layers and model.device_layers.split(";"),
            pa_blk_size=runtime.pa_block_size,
            chat_template=runtime.chat_template,
            jinja_explicit=runtime.jinja_explicit,
            search_embedding_model=runtime.search_embedding_model,
            mcp_client_config=runtime.mcp_config and mcp_file.read(runtime.mcp_config),
            seed=everywhere.seed,
            token_source=everywhere.token_source,
        ),
    )


def paging(mode: str) -> dict[str, bool]:
    """The arguments of Runner for `--paged-attn`."""
    return {"auto": {}, "on": {"paged_attn": True}, "off": {"no_paged_attn": True}}[mode]


def refuse_cache_type(name: str | None) -> None:
    """Only the type of the weights can be cached."""
    if name not in (None, "auto"):
        raise NotSupportedError(
            f"a cache of type {name} is not available yet: leave --pa-cache-type out"
        )


def start(
    kind: str,
    model: ModelOptions,
    runtime: RuntimeOptions,
    everywhere: GlobalOptions,
    **more: Any,
) -> "Runner":
    """Load the model; what is wrong with the options is said before."""
    with usage():
        target, given = which(kind, model), arguments(model, runtime, everywhere)
    return load(model.cpu, which=target, **{**given, **more})


def load(cpu: bool, **given: Any) -> "Runner":
    """A Runner, with a bar on the terminal while it loads."""
    with loading(cpu) as runner:
        return runner(**given)


def load_all(file: ConfigFile, **more: Any) -> "Runner":
    """The models of a file, in one Runner; `more` are arguments of Runner that beat those in the file."""
    tools = {name: more.pop(name) for name in ("mcp_client_config",) if name in more}
    models = tuple(replace(one, options={**one.options, **more}) for one in file.models)
    with loading(file.cpu) as runner:
        return runner.from_config(replace(file, models=models, options={**file.options, **tools}))


@contextmanager
def loading(cpu: bool) -> "Iterator[type[Runner]]":
    """The class Runner, and a bar on the terminal."""
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch, imported below, reads it once
    with shown():
        from mistralrs.runner import Runner  # here, so that a wrong option does not wait for torch

        yield Runner
