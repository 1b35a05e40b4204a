"""`mistralrs tune`: which quantization fits this machine's memory."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api import later
from mistralrs.api.errors import NotSupportedError, OutOfMemoryError, RequestError
from mistralrs.cli.options import AT_LEAST_1, GlobalOptions, ModelOptions, takes, words

if TYPE_CHECKING:
    from mistralrs.load.estimate import Estimate

CANDIDATES = ("none", "q8_0", "q6k", "q5k", "q4k", "q3k", "q2k")  # best first
PREFERRED = {"quality": CANDIDATES[1:], "balanced": CANDIDATES[2:], "fast": CANDIDATES[4:]}
TIERS = ((16, "baseline"), (8, "near-lossless"), (5, "good"), (4, "acceptable"), (0, "degraded"))
NOTE = (
    "sizes are those of weights and recurrent states; Python and torch take some hundred MiB more"
)
SEQUENCES = 32  # what run and serve have without --max-seqs
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
@click.option(
    "--max-seqs", default=SEQUENCES, type=AT_LEAST_1, help="Sequences that run at the same time."
)
@takes(ModelOptions, GlobalOptions)
def tune(
    model: ModelOptions,
    everywhere: GlobalOptions,
    kind: str,
    profile: str,
    max_seqs: int,
    as_json: bool,
    emit_config: str | None,
) -> None:
    """Recommend a quantization that fits this machine's memory.

    Reads config.json alone: no weights are loaded, or downloaded. Sizes are
    those of the weights in memory; the context is what the rest of the
    available memory can hold. --isq asks for a type of your own choice.
    """
    from mistralrs.cli.start import usage

    with usage():
        refuse(model)
    machine, candidates = compute(model, everywhere, kind, max_seqs)
    wanted = [model.isq.strip().lower()] if model.isq else list(PREFERRED[profile])
    chosen = recommend(candidates, wanted)
    found = report(model, max_seqs, profile, machine, candidates, chosen)
    if emit_config:
        emit(Path(emit_config), found, model, max_seqs)
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
    model: ModelOptions, everywhere: GlobalOptions, kind: str, sequences: int
) -> tuple[Machine, list[Candidate]]:
    """All candidates on this machine."""
    import torch

    from mistralrs.cli.start import named_model, which
    from mistralrs.load.estimate import estimates
    from mistralrs.load.hub import open_repo
    from mistralrs.load.plan import Wish, memory
    from mistralrs.loaders import loader_of
    from mistralrs.passes.isq import parse

    target: Any = which(kind, model)
    loader_of(target)  # refuses what nothing loads yet
    later.refuse("Runner", {"num_device_layers": model.device_layers}, later.RUNNER)
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
        sequences=sequences,
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


def report(
    model: ModelOptions,
    sequences: int,
    profile: str,
    machine: Machine,
    candidates: list[Candidate],
    chosen: Candidate,
) -> dict[str, Any]:
    """Everything as JSON."""
    from mistralrs.cli.start import named_model

    name, room = named_model(model), chosen.max_context_tokens
    isq = None if chosen.isq == "none" else chosen.isq
    short = [] if chosen.context_is_model_max else [f"there is room for {room:,} tokens alone"]
    return dict(
        model_id=name,
        profile=profile,
        backend=machine.backend,
        candidates=[{**asdict(one), "recommended": one == chosen} for one in candidates],
        recommended_isq=isq,
        device_layers=None,
        device_layers_cli=None,
        paged_attn_mode="auto",
        recommended_command=" ".join(
            ["mistralrs serve -m", shlex.quote(name), *flags(model, sequences, isq)]
        ),
        total_vram_bytes=machine.total,
        available_vram_bytes=machine.available,
        warnings=short,
        notes=[NOTE],
    )


def flags(model: ModelOptions, sequences: int, isq: str | None) -> list[str]:
    """The options of the command line that the sizes hold for."""
    given = {
        "--arch": model.arch,
        "--dtype": None if model.dtype == "auto" else model.dtype,
        "--tokenizer": model.tokenizer,
        "--hf-cache": model.hf_cache,
        "--isq": isq,
        "--isq-organization": model.isq_organization if isq else None,
        "--max-seqs": None if sequences == SEQUENCES else str(sequences),
    }
    words = [f"{name} {shlex.quote(value)}" for name, value in given.items() if value]
    return [*words, *(["--cpu"] if model.cpu else [])]


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


def emit(path: Path, found: dict[str, Any], model: ModelOptions, sequences: int) -> None:
    """Write the recommendation as a file for from-config."""
    own = {name: getattr(model, name) for name in ("arch", "tokenizer", "dtype")}
    isq = found["recommended_isq"]
    tables = {
        "[server]": {},
        "[runtime]": {"max_seqs": sequences},
        "[[models]]": {"kind": "auto", "model_id": found["model_id"], **own},
        "[models.quantization]": {
            "in_situ_quant": isq,
            "isq_organization": model.isq_organization if isq else None,
        },
        "[models.device]": {"cpu": model.cpu or None, "hf_cache": model.hf_cache},
    }
    lines = ['command = "serve"']
    for head, values in tables.items():
        lines += ["", head]
        lines += [f"{k} = {json.dumps(v)}" for k, v in values.items() if v is not None]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None
