"""Options -> a loaded Runner."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..api.enums import DiffusionArchitecture, SpeechLoaderType
from ..api.errors import NotSupportedError, RequestError
from ..api.options import TextAutoMapParams
from ..api.which import Which
from ..demo import model_path
from .options import Format, Kind, ModelOptions, RuntimeOptions

if TYPE_CHECKING:
    from ..runner import Runner


def present(**values: Any) -> dict[str, Any]:
    """The arguments that were given; the SDK's own defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


def named_model(model: ModelOptions) -> str:
    """The model's hub id or folder."""
    return model.model_id or str(model_path())


def storage(model: ModelOptions) -> Format:
    """The weight format; a file name alone means GGUF."""
    chosen = model.format or (Format.GGUF if model.quantized_file else Format.PLAIN)
    if chosen is not Format.PLAIN and not model.quantized_file:
        raise RequestError(f"--format {chosen.value} needs the file: -f NAME.{chosen.value}")
    if chosen is Format.PLAIN and model.quantized_file:
        raise RequestError("-f names a GGUF or GGML file: drop `--format plain`")
    return chosen


def which(kind: Kind, model: ModelOptions) -> Any:
    """The member of `Which` that the options describe."""
    chosen, name = storage(model), named_model(model)
    length = TextAutoMapParams(max_seq_len=model.max_seq_len) if model.max_seq_len else None
    common = present(dtype=model.dtype)
    if chosen is not Format.PLAIN:
        variant = Which.GGUF if chosen is Format.GGUF else Which.GGML
        files = present(tok_model_id=model.tok_model_id, auto_map_params=length)
        return variant(name, model.quantized_file, **files, **common)
    files = present(tokenizer_json=model.tokenizer, hf_cache_path=model.hf_cache)
    if kind in (Kind.AUTO, Kind.TEXT):
        rest = present(arch=model.arch, auto_map_params=length)
        return Which.Plain(model_id=name, **rest, **files, **common)
    if kind is Kind.VISION:
        return Which.VisionPlain(model_id=name, **files, **common)
    if kind is Kind.DIFFUSION:
        return Which.DiffusionPlain(model_id=name, arch=DiffusionArchitecture.Flux, **common)
    if kind is Kind.SPEECH:
        return Which.Speech(model_id=name, arch=SpeechLoaderType.Dia, **common)
    raise NotSupportedError("an embedding model has no conversation: use Runner.send_embedding_request")


def start(kind: Kind, model: ModelOptions, runtime: RuntimeOptions) -> "Runner":
    """Load the model."""
    target = which(kind, model)
    if model.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch, imported below, reads it once
    from ..runner import Runner  # here, so that `--help` does not wait for torch

    return Runner(
        which=target,
        max_seqs=runtime.max_seqs,
        no_kv_cache=runtime.no_kv_cache,
        prefix_cache_n=runtime.prefix_cache_n,
        **present(
            in_situ_quant=model.isq,
            pa_ctxt_len=runtime.pa_context_len,
            chat_template=runtime.chat_template,
            jinja_explicit=runtime.jinja_explicit,
            seed=runtime.seed,
            token_source=runtime.token_source,
        ),
    )
