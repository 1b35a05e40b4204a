"""The options that commands share, as data: every field of these classes is one command line option."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import click

KINDS = ("auto", "text", "vision", "diffusion", "speech", "embedding")
AT_LEAST_0, AT_LEAST_1 = click.IntRange(min=0), click.IntRange(min=1)
SHARE = click.FloatRange(0, 1, min_open=True)


def words(*names: str) -> click.Choice[str]:
    """One of the words, in any case."""
    return click.Choice(names, case_sensitive=False)


def option(*names: str, default: Any = None, **facts: Any) -> Any:
    """A field that is a command line option; `facts` are arguments of click.Option."""
    return field(default=default, metadata={"names": names, **facts})


def later(*names: str, **facts: Any) -> Any:
    """An option whose feature is not here yet: it is refused with that reason, and --help does not show it."""
    return option(*names, hidden=True, **facts)


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
        type=words("auto", "bf16", "f16", "f32"),
        help="Type of the weights.",
    )
    format: str | None = option(
        "--format",
        type=words("plain", "gguf", "ggml"),
        help="Default: plain, or gguf when -f is given.",
    )
    quantized_file: str | None = option(
        "-f", "--quantized-file", help="GGUF or GGML file name(s), separated by ';'."
    )
    tok_model_id: str | None = option(
        "--tok-model-id", help="Model whose tokenizer a GGUF file uses."
    )
    isq: str | None = option("--isq", help="Quantize while loading, for example 4 or q4k.")
    isq_organization: str | None = option(
        "--isq-organization",
        type=words("default", "moqe"),
        help="What --isq is for; moqe: the experts of a mixture alone.",
    )
    max_seq_len: int | None = option(
        "--max-seq-len", type=AT_LEAST_1, help="Longest sequence to plan memory for."
    )
    max_batch_size: int | None = option(
        "--max-batch-size", type=AT_LEAST_1, help="Sequences of that length to plan for."
    )
    max_edge: int | None = option(
        "--max-edge", type=AT_LEAST_1, help="Scale images down to this many pixels."
    )
    max_num_images: int | None = later("--max-num-images", type=AT_LEAST_1)
    max_image_length: int | None = later("--max-image-length", type=AT_LEAST_1)
    hf_cache: str | None = option("--hf-cache", help="Folder of downloaded models.")
    cpu: bool = option("--cpu", default=False, is_flag=True, help="Leave every GPU alone.")
    device_layers: str | None = later("-n", "--device-layers")
    topology: str | None = later("--topology")
    gqa: int | None = later("--gqa", type=AT_LEAST_1)
    lora: str | None = later("--lora")
    xlora: str | None = later("--xlora")
    xlora_order: str | None = later("--xlora-order")
    tgt_non_granular_index: int | None = later("--tgt-non-granular-index", type=AT_LEAST_0)
    from_uqff: str | None = later("--from-uqff")
    imatrix: str | None = later("--imatrix")
    calibration_file: str | None = later("--calibration-file")


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
    pa_memory_mb: int | None = option(
        "--pa-memory-mb", type=AT_LEAST_1, help="... or in megabytes."
    )
    pa_memory_fraction: float | None = option(
        "--pa-memory-fraction", type=SHARE, help="... or all memory to use, weights included."
    )
    pa_block_size: int | None = option(
        "--pa-block-size", type=click.Choice([8, 16, 32]), help="Tokens of a page of the cache."
    )
    paged_attn: str = option(
        "--paged-attn",
        default="auto",
        type=words("auto", "on", "off"),
        hidden=True,
        help="Without effect here: the cache has pages on every device.",
    )
    pa_cache_type: str = option(
        "--pa-cache-type", default="auto", type=words("auto", "f8e4m3"), hidden=True
    )
    chat_template: str | None = option(
        "-c", "--chat-template", help="Template file, .jinja or .json."
    )
    jinja_explicit: str | None = option(
        "-j", "--jinja-explicit", help="Template file that beats every other one."
    )
    enable_search: bool = option(
        "--enable-search", default=False, is_flag=True, help="Rank web search with a model."
    )
    search_embedding_model: str | None = option(
        "--search-embedding-model", help="That model; default: embedding-gemma."
    )
    mcp_config: str | None = option(
        "--mcp-config",
        envvar="MCP_CONFIG_PATH",
        help="JSON file of MCP servers, whose tools the model may call.",
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


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens, and whom it lets in."""

    host: str = option("--host", default="127.0.0.1", help="Address; 0.0.0.0: every network.")
    port: int = option("-p", "--port", default=1234, type=click.IntRange(0, 65535), help="Port.")
    api_key: tuple[str, ...] = option(
        "--api-key",
        default=(),
        multiple=True,
        envvar="MISTRALRS_API_KEY",
        help="Key that clients must send; several are possible.",
    )
    cors: tuple[str, ...] = option(
        "--cors", default=(), multiple=True, help="Origin of web pages that may call, or '*'."
    )
    max_requests: int = option(
        "--max-requests", default=256, type=AT_LEAST_1, help="Requests in flight; more get a 429."
    )
    max_body_mb: int = option(
        "--max-body-mb", default=50, type=AT_LEAST_1, help="Largest body of a request."
    )
    ui: bool = option("--ui/--no-ui", default=True, help="The page at /ui.")
    mcp_port: int | None = option(
        "--mcp-port", type=click.IntRange(0, 65535), help="Serve the chat as a tool of MCP too."
    )


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
    log: str | None = option(
        "-l", "--log", help="File that gets every request and answer, one JSON object a line."
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
