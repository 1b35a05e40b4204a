"""Options -> a loaded Runner."""

import os
from typing import TYPE_CHECKING, Any

from mistralrs.api.enums import DiffusionArchitecture, ModelDType, SpeechLoaderType
from mistralrs.api.errors import NotSupportedError, RequestError
from mistralrs.api.options import TextAutoMapParams
from mistralrs.api.which import Which
from mistralrs.cli.options import GlobalOptions, ModelOptions, RuntimeOptions
from mistralrs.demo import model_path

if TYPE_CHECKING:
    from mistralrs.runner import Runner


def present(**values: Any) -> dict[str, Any]:
    """The arguments that were given; the SDK's own defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


def named_model(model: ModelOptions) -> str:
    """The model's hub id or folder."""
    return model.model_id or str(model_path())


def storage(model: ModelOptions) -> str:
    """The weight format; a file name alone means GGUF."""
    chosen = model.format or ("gguf" if model.quantized_file else "plain")
    if chosen != "plain" and not model.quantized_file:
        raise RequestError(f"--format {chosen} needs the file: -f NAME.{chosen}")
    if chosen == "plain" and model.quantized_file:
        raise RequestError("-f names a GGUF or GGML file: drop `--format plain`")
    return chosen


def which(kind: str, model: ModelOptions) -> Which:
    """The member of Which that the options describe."""
    name = named_model(model)
    length = TextAutoMapParams(max_seq_len=model.max_seq_len) if model.max_seq_len else None
    dtype = ModelDType(model.dtype)
    text = present(dtype=dtype, auto_map_params=length)
    if (chosen := storage(model)) != "plain":
        variant: Any = Which.GGUF if chosen == "gguf" else Which.GGML
        return variant(
            name, model.quantized_file, **present(tok_model_id=model.tok_model_id), **text
        )
    files = present(tokenizer_json=model.tokenizer, hf_cache_path=model.hf_cache)
    match kind:
        case "auto" | "text" if not model.max_edge:
            return Which.Plain(name, **present(arch=model.arch), **files, **text)
        case "auto" | "text" | "vision":
            seen = present(arch=model.arch, max_edge=model.max_edge)
            return Which.VisionPlain(name, dtype=dtype, **seen, **files)
        case "diffusion":
            return Which.DiffusionPlain(name, DiffusionArchitecture.Flux, dtype=dtype)
        case "speech":
            return Which.Speech(name, SpeechLoaderType.Dia, dtype=dtype)
    raise NotSupportedError(
        "an embedding model does not converse: use Runner.send_embedding_request"
    )


def start(
    kind: str, model: ModelOptions, runtime: RuntimeOptions, everywhere: GlobalOptions
) -> "Runner":
    """Load the model."""
    target = which(kind, model)
    if model.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch, imported below, reads it once
    from mistralrs.runner import Runner  # here, so that a wrong option does not wait for torch

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
            seed=everywhere.seed,
            token_source=everywhere.token_source,
        ),
    )
