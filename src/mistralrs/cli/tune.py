"""`mistralrs tune`: which quantization fits this machine's memory."""

import json
from pathlib import Path
from typing import Any

import click

from mistralrs.api import later
from mistralrs.api.errors import NotSupportedError, RequestError
from mistralrs.cli.options import AT_LEAST_1, GlobalOptions, ModelOptions, takes, words


@click.command(context_settings={"show_default": True})
@click.option(
    "--profile",
    default="balanced",
    type=words("quality", "balanced", "fast"),
    help="quality: from 8 bits down; balanced: from 6; fast: from 4.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--emit-config", type=click.Path(), help="Write a TOML file for from-config.")
@click.argument(
    "kind", type=click.Choice(("auto", "text", "vision")), default="auto", metavar="[KIND]"
)
@click.option(
    "--max-seqs", default=32, type=AT_LEAST_1, help="Sequences that run at the same time."
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
    from mistralrs.cli.start import usage  # here, so that --help is quick

    with usage():
        refuse(model)
    found = computed(model, everywhere, kind, profile, max_seqs)
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


def computed(
    model: ModelOptions, everywhere: GlobalOptions, kind: str, profile: str, sequences: int
) -> dict[str, Any]:
    """The report for these options."""
    from mistralrs.cli.start import which
    from mistralrs.load.advise import Question, advise, tunable
    from mistralrs.load.hub import open_repo
    from mistralrs.loaders import loader_of

    target = tunable(which(kind, model))
    loader_of(target)  # refuses what nothing loads yet
    later.refuse("Runner", {"num_device_layers": model.device_layers}, later.RUNNER)
    source = everywhere.token_source or "cache"
    repo = open_repo(target.model_id, token_source=source, cache=model.hf_cache)
    return advise(repo, Question(target, profile, model.isq, sequences, model.cpu))


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
