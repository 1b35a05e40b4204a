"""The options that commands share, as data: every field of these classes is one command line option."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import click

KINDS = ("auto", "text", "vision", "diffusion", "speech", "embedding")
AT_LEAST_0, AT_LEAST_1 = click.IntRange(min=0), click.IntRange(min=1)


def option(*names: str, default: Any = None, **facts: Any) -> Any:
    """A field that is a command line option; `facts` are arguments of click.Option."""
    return field(default=default, metadata={"names": names, **facts})


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model_id: str | None = option(
        "-m", "--model-id", help="Hugging Face id or folder; default: the demo model."
    )
    tokenizer: str | None = option("-t", "--tokenizer", help="Another tokenizer.json.")
    arch: str | None = option(
        "-a", "--arch", help="Architecture, such as qwen3; default: detect it."
    )
    dtype: str = option(
        "--dtype",
        default="auto",
        type=click.Choice(["auto", "bf16", "f16", "f32"], case_sensitive=False),
        help="Type of the weights.",
    )
    format: str | None = option(
        "--format",
        type=click.Choice(["plain", "gguf", "ggml"], case_sensitive=False),
        help="Default: plain, or gguf when -f is given.",
    )
    quantized_file: str | None = option(
        "-f", "--quantized-file", help="GGUF or GGML file name(s), separated by ';'."
    )
    tok_model_id: str | None = option(
        "--tok-model-id", help="Model whose tokenizer a GGUF file uses."
    )
    isq: str | None = option("--isq", help="Quantize while loading, for example 4 or q4k.")
    max_seq_len: int | None = option(
        "--max-seq-len", type=AT_LEAST_1, help="Longest sequence to plan memory for."
    )
    max_edge: int | None = option(
        "--max-edge", type=AT_LEAST_1, help="Scale images down to this many pixels."
    )
    hf_cache: str | None = option("--hf-cache", help="Folder of downloaded models.")
    cpu: bool = option("--cpu", default=False, is_flag=True, help="Leave every GPU alone.")


@dataclass(frozen=True)
class RuntimeOptions:
    """How the engine serves requests."""

    max_seqs: int = option(
        "--max-seqs", default=32, type=AT_LEAST_1, help="Sequences that run at the same time."
    )
    no_kv_cache: bool = option(
        "--no-kv-cache", default=False, is_flag=True, help="Recompute everything at every step."
    )
    prefix_cache_n: int = option(
        "--prefix-cache-n", default=16, type=AT_LEAST_0, help="Prompts kept for reuse; 0: none."
    )
    pa_context_len: int | None = option(
        "--pa-context-len", type=AT_LEAST_1, help="Capacity of the cache in tokens."
    )
    chat_template: str | None = option(
        "-c", "--chat-template", help="Template file, .jinja or .json."
    )
    jinja_explicit: str | None = option(
        "-j", "--jinja-explicit", help="Template file that beats every other one."
    )


@dataclass(frozen=True)
class SamplingOptions:
    """How answers are chosen. What is left out follows the model's generation_config.json."""

    temperature: float | None = option("--temperature", type=float, help="0: always the likeliest.")
    top_p: float | None = option(
        "--top-p", type=float, help="Keep the likeliest tokens up to this sum."
    )
    top_k: int | None = option("--top-k", type=int, help="Keep this many of the likeliest tokens.")
    max_tokens: int | None = option(
        "--max-tokens", type=AT_LEAST_1, help="Longest answer in tokens."
    )
    enable_thinking: bool | None = option(
        "--enable-thinking/--no-thinking", help="For models that can reason first."
    )
    system: str | None = option("--system", help="System message.")


def set_level(context: click.Context, parameter: click.Parameter, count: int) -> None:
    """Show the package's log on stderr: -v what happens, -vv every detail."""
    if count:
        logging.getLogger("mistralrs").setLevel(logging.INFO if count == 1 else logging.DEBUG)


@dataclass(frozen=True)
class GlobalOptions:
    """Options that may stand before or after the command's name."""

    seed: int | None = option("--seed", type=int, help="Seed of the sampling.")
    token_source: str | None = option(
        "--token-source", help="Hub token: literal:X, env:X, path:X, cache or none."
    )
    verbose: int = option(
        "-v",
        "--verbose",
        default=0,
        count=True,
        callback=set_level,
        help="Say more on stderr; -vv: everything.",
    )


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `groups`; after its own arguments it receives one instance of each."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*own: Any, **values: Any) -> None:
            filled = [
                group(**{f.name: values.pop(f.name) for f in fields(group)}) for group in groups
            ]
            command(*own, *filled, **values)

        for spec in reversed([f for group in groups for f in fields(group)]):
            facts = dict(spec.metadata)
            names = (*facts.pop("names"), spec.name)
            run = click.option(*names, default=spec.default, **facts)(run)
        return run

    return decorate
