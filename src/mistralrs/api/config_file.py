"""The TOML file that describes the models of a Runner: docs/many-models.md."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from mistralrs.api import check
from mistralrs.api.enums import DiffusionArchitecture, SpeechLoaderType
from mistralrs.api.errors import MistralRsError, NotSupportedError, RequestError
from mistralrs.api.options import TextAutoMapParams, VisionAutoMapParams
from mistralrs.api.strict import did_you_mean
from mistralrs.api.which import Which

Json = dict[str, Any]
Names = Mapping[str, str]  # key of the file: argument of Runner or of a member of Which


@dataclass(frozen=True)
class ConfigModel:
    """One model of the file: what `Runner.add_model` takes."""

    which: Which
    id: str
    options: Json


@dataclass(frozen=True)
class ConfigFile:
    """What a file says; a Runner uses the first three, the command line the others."""

    models: tuple[ConfigModel, ...]
    default: str | None = None
    options: Json = field(default_factory=dict)  # of the Runner, for all models
    command: str | None = None  # "run" or "serve"
    enable_thinking: bool | None = None
    cpu: bool = False  # leave every GPU alone
    log: str | None = None
    server: Json = field(default_factory=dict)  # as it stands in the file


def read(path: str | os.PathLike[str]) -> ConfigFile:
    """Read and check a file; raises RequestError, which says where the mistake is."""
    file = Path(check.path("path", path)).expanduser()
    try:
        return parse(load(file))
    except NotSupportedError as error:
        raise NotSupportedError(f"{file}: {error}") from None
    except (MistralRsError, TypeError) as error:
        raise RequestError(f"{file}: {error}") from None


def load(file: Path) -> Json:
    """The tables of a TOML file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if file.suffix != ".toml":
        raise RequestError("must be a .toml file")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise RequestError(f"is not valid TOML ({error})") from None


# Keys of the sections for all models -> arguments of Runner that every model may have its own of.
SHARED: dict[str, Names] = {
    "global": {"seed": "seed", "token_source": "token_source"},
    "runtime": {
        name: name
        for name in (
            "max_seqs", "no_kv_cache", "prefix_cache_n", "chat_template", "jinja_explicit",
        )
    },
    "paged_attn": {
        "context_len": "pa_ctxt_len",
        "memory_mb": "pa_gpu_mem",
        "memory_fraction": "pa_gpu_mem_usage",
        "block_size": "pa_blk_size",
    },
}  # fmt: skip
RUNNER: dict[str, Names] = {  # -> arguments that belong to the Runner
    "runtime": {
        "enable_search": "enable_search",
        "search_embedding_model": "search_embedding_model",
    },
    "paged_attn": {"cache_type": "pa_cache_type"},
}
MODES = {"auto": {}, "on": {"paged_attn": True}, "off": {"no_paged_attn": True}}
KNOWN = {
    "": ("command", "default_model_id", "enable_thinking", "server", "models", *SHARED),
    "global": (*SHARED["global"], "log"),
    "runtime": (*SHARED["runtime"], *RUNNER["runtime"]),
    "paged_attn": (*SHARED["paged_attn"], *RUNNER["paged_attn"], "mode"),
}


def parse(file: Json) -> ConfigFile:
    """The meaning of the tables."""
    if "model" in file:
        return ConfigFile((selected(file),))
    for section, names in KNOWN.items():
        known(section, table(file, section) if section else file, names)
    given = table(file, "global"), table(file, "runtime"), table(file, "paged_attn")
    shared = {k: v for part, names in zip(given, SHARED.values()) for k, v in pick(part, names)}
    listed = file.get("models")
    if not isinstance(listed, list) or not listed:
        raise RequestError("models: give at least one [[models]] table")
    entries = [entry(f"models[{i}]", one, shared) for i, one in enumerate(listed)]
    models = tuple(model for model, _ in entries)
    command = file.get("command")
    own = dict([*pick(given[1], RUNNER["runtime"]), *pick(given[2], RUNNER["paged_attn"])])
    mode = check.one_of(*MODES)("paged_attn.mode", given[2].get("mode", "auto"))
    thinking = file.get("enable_thinking")
    return ConfigFile(
        models,
        default_of(file.get("default_model_id"), [model.id for model in models]),
        own | MODES[mode],
        None if command is None else check.one_of("run", "serve")("command", command),
        None if thinking is None else check.flag("enable_thinking", thinking),
        same([cpu for _, cpu in entries]),
        given[0].get("log"),
        table(file, "server"),
    )


def known(where: str, given: Json, names: Iterable[str]) -> None:
    """Raise RequestError for a key that is not one of `names`."""
    names = list(names)
    for key in given:
        if key not in names:
            hint = did_you_mean(key, names) or f"; the keys are: {', '.join(names)}"
            raise RequestError(f"{where + '.' if where else ''}{key} is unknown{hint}")


def table(parent: Json, key: str) -> Json:
    """A table, empty when it is not there."""
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise RequestError(f"{key}: must be a table")
    return value


def pick(given: Json, names: Names) -> list[tuple[str, Any]]:
    """The arguments that are given, under their names in Python."""
    return [(names[key], value) for key, value in given.items() if key in names]


def default_of(name: str | None, ids: list[str]) -> str | None:
    """The default model's id; RequestError unless it is there and all ids differ."""
    twice = next((id for id in ids if ids.count(id) > 1), None)
    if twice is not None:
        raise RequestError(f"models: '{twice}' occurs twice; give each an alias of its own")
    if name is not None and name not in ids:
        raise RequestError(f"default_model_id: '{name}' is not among {', '.join(ids)}")
    return name


def same(values: list[bool]) -> bool:
    """What all models say about the GPU."""
    if len(set(values)) > 1:
        raise RequestError("device.cpu: must be the same for all models")
    return values[0]


# --- one model --------------------------------------------------------------------------------------

KINDS: dict[str, type[Which]] = {
    "auto": Which.Plain,
    "text": Which.Plain,
    "vision": Which.VisionPlain,
    "embedding": Which.Embedding,
    "diffusion": Which.DiffusionPlain,
    "speech": Which.Speech,
}
VARIANTS: dict[tuple[str, str], type[Which]] = {  # weight format, adapter
    ("plain", "lora"): Which.Lora,
    ("plain", "xlora"): Which.XLora,
    ("gguf", ""): Which.GGUF,
    ("gguf", "lora"): Which.LoraGGUF,
    ("gguf", "xlora"): Which.XLoraGGUF,
    ("ggml", ""): Which.GGML,
    ("ggml", "lora"): Which.LoraGGML,
    ("ggml", "xlora"): Which.XLoraGGML,
}
FIELDS: dict[str, Names] = {  # -> fields of the member of Which
    "": {"tokenizer": "tokenizer_json", "arch": "arch", "dtype": "dtype"},
    "format": {
        "quantized_file": "quantized_filename",
        "tok_model_id": "tok_model_id",
        "gqa": "gqa",
    },
    "adapter": {
        "lora": "adapters_model_id",
        "xlora": "xlora_model_id",
        "xlora_order": "order",
        "tgt_non_granular_index": "tgt_non_granular_index",
    },
    "quantization": {
        "from_uqff": "from_uqff",
        "isq_organization": "organization",
        "imatrix": "imatrix",
        "calibration_file": "calibration_file",
    },
    "device": {"topology": "topology", "hf_cache": "hf_cache_path"},
    "vision": {"max_edge": "max_edge"},
}
OWN: dict[str, Names] = {  # -> arguments of add_model
    "": {"chat_template": "chat_template", "jinja_explicit": "jinja_explicit"},
    "quantization": dict.fromkeys(("in_situ_quant", "isq", "quant"), "in_situ_quant"),
    "device": {"device_layers": "num_device_layers"},
}
LENGTHS = {
    "device": ("max_seq_len", "max_batch_size"),
    "vision": ("max_num_images", "max_image_length"),
}
OTHER = {
    "": ("kind", "model_id", "alias", *(name for name in FIELDS if name)),
    "format": ("format",),
    "device": ("cpu",),
}


def entry(where: str, given: Any, shared: Json) -> tuple[ConfigModel, bool]:
    """A model, and whether it is for the CPU only."""
    if not isinstance(given, dict):
        raise RequestError(f"{where}: must be a table")
    parts = {section: table(given, section) if section else given for section in FIELDS}
    for section, part in parts.items():
        rows = (FIELDS, OWN, LENGTHS, OTHER)
        names = [name for row in rows for name in row.get(section, ())]
        known(f"{where}.{section}" if section else where, part, names)
    try:
        which = member(parts)
    except NotSupportedError:
        raise
    except (MistralRsError, TypeError) as error:
        raise RequestError(f"{where}: {error}") from None
    own = dict(pair for section, names in OWN.items() for pair in pick(parts[section], names))
    id = check.name(f"{where}.alias", given.get("alias", given["model_id"]))
    cpu = check.flag(f"{where}.device.cpu", parts["device"].get("cpu", False))
    return ConfigModel(which, id, shared | own), cpu


def member(parts: Mapping[str, Json]) -> Which:
    """The member of Which that a model's tables describe."""
    values = dict(pair for section, names in FIELDS.items() for pair in pick(parts[section], names))
    kind = variant(parts)
    own = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    main = "quantized_model_id" if "quantized_model_id" in own else "model_id"
    values[main] = check.path("model_id", parts[""].get("model_id"))
    if kind is Which.Lora and "adapters_model_id" in values:
        values["adapter_model_id"] = values.pop("adapters_model_id")
    if kind in ARCHITECTURES:
        values.setdefault("arch", ARCHITECTURES[kind])
    lengths = {key: parts[s][key] for s, keys in LENGTHS.items() for key in keys if key in parts[s]}
    if lengths:
        params = VisionAutoMapParams if kind is Which.VisionPlain else TextAutoMapParams
        values["auto_map_params"] = params(**lengths)
    return kind(**values)


ARCHITECTURES: dict[type[Which], Any] = {
    Which.DiffusionPlain: DiffusionArchitecture.Flux,
    Which.Speech: SpeechLoaderType.Dia,
}


def variant(parts: Mapping[str, Json]) -> type[Which]:
    """The class for a model's kind, weight format and adapter."""
    kind = check.one_of(*KINDS)("kind", parts[""].get("kind", "auto"))
    guess = "gguf" if "quantized_file" in parts["format"] else "plain"
    format = check.one_of("plain", "gguf", "ggml")(
        "format.format", parts["format"].get("format", guess)
    )
    adapters = [name for name in ("lora", "xlora") if name in parts["adapter"]]
    if len(adapters) > 1:
        raise RequestError("adapter: lora and xlora exclude each other")
    if format == "plain" and not adapters:
        return Which.VisionPlain if kind == "auto" and parts["vision"] else KINDS[kind]
    return VARIANTS[format, "".join(adapters)]


# --- the older form: [model] has the fields of a member of Which -------------------------------------

MEMBERS: tuple[type[Which], ...] = (*dict.fromkeys(KINDS.values()), *VARIANTS.values())


def selected(file: Json) -> ConfigModel:
    """The model of a file with a [model] table; its keys tell which member of Which it is."""
    for section in ("speculative", "anymoe"):
        if section in file:
            raise NotSupportedError(f"[{section}] is not available yet; leave it out")
    known("", file, ("model",))
    given = table(file, "model")
    for kind in MEMBERS:
        names = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
        needed = {
            name
            for name, f in names.items()
            if f.default is MISSING and f.default_factory is MISSING
        }
        if needed <= given.keys() <= names.keys():
            which = kind(**given)
            name = given.get("model_id") or given.get("quantized_model_id")
            return ConfigModel(which, check.name("model_id", name), {})
    raise RequestError(
        f"model: no member of Which has just the fields {', '.join(given) or 'of an empty table'}"
    )
