"""`mistralrs tune`: which quantization fits this machine's memory."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api.errors import NotSupportedError, OutOfMemoryError, RequestError
from mistralrs.cli.options import GlobalOptions, ModelOptions, RuntimeOptions, takes, words

if TYPE_CHECKING:
    from mistralrs.load.estimate import Estimate

CANDIDATES = ("none", "q8_0", "q6k", "q5k", "q4k", "q3k", "q2k")  # best first
PREFERRED = {"quality": CANDIDATES[1:], "balanced": CANDIDATES[2:], "fast": CANDIDATES[4:]}
TIERS = ((16, "baseline"), (8, "near-lossless"), (5, "good"), (4, "acceptable"), (0, "degraded"))
LEAST = 4096  # tokens of context that a model must have room for, unless its own is shorter


@dataclass(frozen=True)
class Candidate:
    """A quantization and what becomes of the model with it."""

    isq: str
    isq_name: str
    estimated_size_bytes: int
    vram_usage_percent: float
    max_context_tokens: int
    context_is_model_max: bool
    quality: str
    fit_status: str  # "fits" or "too-large"
    recommended: bool = False


@dataclass(frozen=True)
class Machine:
    """Where the model is to run."""

    backend: str
    total: int  # bytes of memory
    available: int


@click.command(context_settings={"show_default": True})
@click.option(
    "--profile",
    default="balanced",
    type=words(*PREFERRED),
    help="quality: from 8 bits down; balanced: from 6; fast: from 4.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--emit-config", type=click.Path(), help="Write a TOML file for from-config.")
@click.argument(
    "kind", type=click.Choice(("auto", "text", "vision")), default="auto", metavar="[KIND]"
)
@takes(ModelOptions, RuntimeOptions, GlobalOptions)
def tune(
    model: ModelOptions,
    runtime: RuntimeOptions,
    everywhere: GlobalOptions,
    kind: str,
    profile: str,
    as_json: bool,
    emit_config: str | None,
) -> None:
    """Recommend a quantization that fits this machine's memory.

    Reads config.json alone: no weights are loaded, or downloaded. Sizes are
    those of the weights in memory; the context is what the rest of the
    available memory can hold. --isq asks for a type of your own choice.
    """
    from mistralrs.cli.start import named_model, usage

    with usage():
        refuse(model)
    machine, candidates = compute(model, runtime, everywhere, kind)
    wanted = [model.isq.strip().lower()] if model.isq else list(PREFERRED[profile])
    chosen = recommend(candidates, wanted)
    found = report(
        named_model(model), profile, machine, mark(candidates, chosen), chosen, bool(model.isq)
    )
    if emit_config:
        emit(Path(emit_config), found, model)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def refuse(model: ModelOptions) -> None:
    """What is quantized already cannot be tuned."""
    if model.quantized_file or model.format in ("gguf", "ggml"):
        raise NotSupportedError(
            "a GGUF or GGML file is quantized already: choose another file to save memory"
        )


def compute(
    model: ModelOptions, runtime: RuntimeOptions, everywhere: GlobalOptions, kind: str
) -> tuple[Machine, list[Candidate]]:
    """All candidates on this machine."""
    import torch

    from mistralrs.cli.start import named_model, which
    from mistralrs.load.estimate import estimates
    from mistralrs.load.hub import open_repo
    from mistralrs.load.plan import Wish, memory
    from mistralrs.passes.isq import parse

    target: Any = which(kind, model)
    names = list(CANDIDATES)
    own = model.isq and model.isq.strip().lower()
    if own and own not in names:
        names.append(own)
    kinds = [None if name == "none" else parse(name) for name in names]
    repo = open_repo(
        named_model(model), token_source=everywhere.token_source or "cache", cache=model.hf_cache
    )
    gpu = torch.cuda.is_available() and not model.cpu
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    wish = Wish(
        arch=target.arch.value if target.arch else None,
        media=kind == "vision",
        dtype=model.dtype,
        device=device,
        experts=model.isq_organization == "moqe",
        sequences=runtime.max_seqs,
        snapshots=runtime.prefix_cache_n,
    )
    machine = Machine(device.type, *memory(device))
    sizes = estimates(repo, wish, kinds)
    return machine, [
        candidate(name, bits(kind), size, machine)
        for name, kind, size in zip(names, kinds, sizes, strict=True)
    ]


def bits(kind: Any) -> float:
    """Bits of a weight."""
    return 16.0 if kind is None else kind.bits


def candidate(name: str, bits: float, size: "Estimate", machine: Machine) -> Candidate:
    """The figures of one quantization."""
    fixed = size.weights + size.states
    room = max(machine.available - fixed, 0)
    context = min(size.context, room // size.per_token if size.per_token else size.context)
    fits = room > 0 and context >= min(LEAST, size.context)
    return Candidate(
        isq=name,
        isq_name="none" if name == "none" else name.upper(),
        estimated_size_bytes=fixed,
        vram_usage_percent=round(100 * fixed / machine.total, 2),
        max_context_tokens=context,
        context_is_model_max=context == size.context,
        quality=next(tier for least, tier in TIERS if int(bits) >= least),
        fit_status="fits" if fits else "too-large",
    )


def recommend(candidates: list[Candidate], wanted: list[str]) -> Candidate:
    """The first wanted one that fits, else the first that fits at all."""
    fitting = {one.isq: one for one in candidates if one.fit_status == "fits"}
    for name in (*wanted, *fitting):
        if name in fitting:
            return fitting[name]
    smallest = min(candidates, key=lambda one: one.estimated_size_bytes)
    raise OutOfMemoryError(
        f"no quantization of this model fits: {smallest.isq_name} needs "
        f"{smallest.estimated_size_bytes:,} bytes; take a smaller model, or free memory"
    )


def mark(candidates: list[Candidate], chosen: Candidate) -> list[dict[str, Any]]:
    """The candidates as JSON, one of them recommended."""
    return [{**asdict(one), "recommended": one == chosen} for one in candidates]


def report(
    name: str,
    profile: str,
    machine: Machine,
    candidates: list[dict[str, Any]],
    chosen: Candidate,
    asked: bool,
) -> dict[str, Any]:
    """Everything as JSON."""
    flag = "" if chosen.isq == "none" else f" --isq {chosen.isq}"
    warnings = []
    if not chosen.context_is_model_max:
        warnings.append(
            f"there is room for {chosen.max_context_tokens:,} tokens, less than the model takes"
        )
    return dict(
        model_id=name,
        profile=profile,
        backend=machine.backend,
        candidates=candidates,
        recommended_isq=None if chosen.isq == "none" else chosen.isq,
        device_layers=None,
        device_layers_cli=None,
        paged_attn_mode="auto",
        recommended_command=f"mistralrs serve -m {name}{flag}",
        total_vram_bytes=machine.total,
        available_vram_bytes=machine.available,
        warnings=warnings,
        notes=[
            "sizes are those of weights and recurrent states; the process takes about 0.4 GiB more"
        ],
    )


def show(found: dict[str, Any]) -> None:
    """Print the table and the command."""
    from mistralrs.cli.shape import gigabytes, table

    place = f"{gigabytes(found['available_vram_bytes'])} of {gigabytes(found['total_vram_bytes'])}"
    print(
        f"{found['model_id']} on {found['backend']}, {place} available, profile {found['profile']}"
    )
    rows = [
        (
            one["isq_name"],
            gigabytes(one["estimated_size_bytes"]),
            f"{one['vram_usage_percent']:.1f}%",
            f"{one['max_context_tokens']:,}" + (" (all)" if one["context_is_model_max"] else ""),
            one["quality"],
            one["fit_status"] + (", recommended" if one["recommended"] else ""),
        )
        for one in found["candidates"]
    ]
    heads = ("Quant", "Est. size", "Memory", "Context room", "Quality", "Status")
    table(heads, rows, numbers=(1, 2, 3))
    for line in found["warnings"]:
        print(f"warning: {line}")
    print(found["recommended_command"])


def emit(path: Path, found: dict[str, Any], model: ModelOptions) -> None:
    """Write the recommendation as a file for from-config."""
    lines = [
        'command = "serve"',
        "",
        "[server]",
        "",
        "[runtime]",
        "max_seqs = 32",
        "",
        "[[models]]",
    ]
    lines += [
        'kind = "auto"',
        f"model_id = {json.dumps(found['model_id'])}",
        f'dtype = "{model.dtype}"',
    ]
    if found["recommended_isq"]:
        lines += ["", "[models.quantization]", f'in_situ_quant = "{found["recommended_isq"]}"']
    if model.cpu:
        lines += ["", "[models.device]", "cpu = true"]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None
