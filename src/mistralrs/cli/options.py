"""The options that commands share, as data: every field of these classes is one command line option."""

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Annotated, Any

import typer

from ..api.enums import ModelDType


class Kind(str, Enum):
    """The optional word before the options of a model command."""

    AUTO = "auto"
    TEXT = "text"
    VISION = "vision"
    DIFFUSION = "diffusion"
    SPEECH = "speech"
    EMBEDDING = "embedding"


class Format(str, Enum):
    """How the weights are stored."""

    PLAIN = "plain"
    GGUF = "gguf"
    GGML = "ggml"


KindWord = Annotated[Kind, typer.Argument(metavar="[KIND]", help=", ".join(Kind))]


def set_level(count: int) -> None:
    """Show the package's log on stderr: -v what happens, -vv every detail."""
    if count:
        logging.getLogger("mistralrs").setLevel(logging.INFO if count == 1 else logging.DEBUG)


Verbose = Annotated[
    int,
    typer.Option("-v", "--verbose", count=True, callback=set_level, help="Say more; -vv: everything."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the sampling.")]
TokenSource = Annotated[
    str | None,
    typer.Option("--token-source", help="Hub token: literal:X, env:X, path:X, cache or none."),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model_id: Annotated[
        str | None,
        typer.Option("-m", "--model-id", help="Hugging Face id or folder; default: the demo model."),
    ] = None
    tokenizer: Annotated[
        str | None, typer.Option("-t", "--tokenizer", help="Another tokenizer.json.")
    ] = None
    arch: Annotated[
        str | None,
        typer.Option("-a", "--arch", help="Architecture, such as qwen3; default: detect it."),
    ] = None
    dtype: Annotated[ModelDType, typer.Option("--dtype", case_sensitive=False, help="Type of the weights.")] = (
        ModelDType.Auto
    )
    format: Annotated[
        Format | None, typer.Option("--format", help="Default: plain, or gguf when -f is given.")
    ] = None
    quantized_file: Annotated[
        str | None,
        typer.Option("-f", "--quantized-file", help="GGUF or GGML file name(s), separated by ';'."),
    ] = None
    tok_model_id: Annotated[
        str | None, typer.Option("--tok-model-id", help="Model whose tokenizer a GGUF file uses.")
    ] = None
    isq: Annotated[
        str | None, typer.Option("--isq", help="Quantize while loading, for example 4 or q4k.")
    ] = None
    max_seq_len: Annotated[
        int | None, typer.Option("--max-seq-len", min=1, help="Longest sequence to plan memory for.")
    ] = None
    hf_cache: Annotated[
        str | None, typer.Option("--hf-cache", help="Folder of downloaded models.")
    ] = None
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave every GPU alone.")] = False


@dataclass(frozen=True)
class RuntimeOptions:
    """How the engine serves requests."""

    max_seqs: Annotated[
        int, typer.Option("--max-seqs", min=1, help="Sequences that run at the same time.")
    ] = 32
    no_kv_cache: Annotated[
        bool, typer.Option("--no-kv-cache", help="Recompute everything at every step.")
    ] = False
    prefix_cache_n: Annotated[
        int, typer.Option("--prefix-cache-n", min=0, help="Prompts kept for reuse; 0: none.")
    ] = 16
    pa_context_len: Annotated[
        int | None, typer.Option("--pa-context-len", min=1, help="Capacity of the cache in tokens.")
    ] = None
    chat_template: Annotated[
        str | None, typer.Option("-c", "--chat-template", help="Template file, .jinja or .json.")
    ] = None
    jinja_explicit: Annotated[
        str | None,
        typer.Option("-j", "--jinja-explicit", help="Template file that beats every other one."),
    ] = None
    seed: Seed = None
    token_source: TokenSource = None
    verbose: Verbose = 0


@dataclass(frozen=True)
class SamplingOptions:
    """How answers are chosen. What is left out follows the model's generation_config.json."""

    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0: always the most likely token.")
    ] = None
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Keep the most likely tokens up to this sum.")
    ] = None
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Keep this many of the most likely tokens.")
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer in tokens.")
    ] = None
    enable_thinking: Annotated[
        bool | None,
        typer.Option("--enable-thinking/--no-thinking", help="For models that can reason first."),
    ] = None
    system: Annotated[str | None, typer.Option("--system", help="System message.")] = None


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `groups`; it receives one filled instance of each, after its own arguments."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[: -len(groups)]
        shared = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
            for group in groups
            for f in fields(group)
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            filled = [group(**{f.name: values.pop(f.name) for f in fields(group)}) for group in groups]
            command(*(values[p.name] for p in own), *filled)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
