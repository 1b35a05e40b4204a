"""A description of a whole Runner: models, their options, and how it is run or served; the shape with `[[models]]`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mistralrs.api import check, choose
from mistralrs.api.errors import MistralRsError, NotSupportedError, RequestError
from mistralrs.api.strict import did_you_mean
from mistralrs.api.which import Which

Json = dict[str, Any]


@dataclass(frozen=True)
class ConfigModel:
    """One model of the file: what `Runner.add_model` takes."""

    which: Which
    id: str
    options: Json = field(default_factory=dict)


@dataclass(frozen=True)
class ConfigFile:
    """What a file says; a Runner uses the first three, the command line the others."""

    models: tuple[ConfigModel, ...]
    default: str | None = None  # an id
    options: Json = field(default_factory=dict)  # of the Runner, for all models
    command: str | None = None  # "run" or "serve"
    enable_thinking: bool | None = None  # of `mistralrs run`
    cpu: bool = False  # leave every GPU alone
    log: str | None = None
    server: Json = field(default_factory=dict)  # options of `mistralrs serve`


Table = Mapping[str, check.Check]

TOP: Table = {
    "command": check.one_of("serve", "run"),
    "default_model_id": check.name,
    "enable_thinking": check.flag,
}
GLOBAL: Table = {"seed": check.count(), "log": check.path, "token_source": check.name}
SERVER: Table = {
    "port": check.count(0, 65535),
    "host": check.name,
    "ui": check.flag,
    "mcp_port": check.count(0, 65535),
    "mcp_config": check.path,
    "api_key": check.names,
    "cors": check.names,
    "max_requests": check.count(1),
    "max_body_mb": check.count(1),
}
RUNTIME: Table = {
    "max_seqs": check.count(1),
    "no_kv_cache": check.flag,
    "prefix_cache_n": check.count(0),
    "chat_template": check.path,
    "jinja_explicit": check.path,
    "enable_search": check.flag,
    "search_embedding_model": check.name,
}
PAGED: Table = {
    "mode": check.one_of("auto", "on", "off"),
    "context_len": check.count(1),
    "memory_mb": check.count(1),
    "memory_fraction": check.number(0, 1),
    "block_size": check.count(1),
    "cache_type": check.one_of("auto", "f8e4m3"),
}
MODEL: Table = {
    "kind": check.text,
    "model_id": check.path,
    "alias": check.name,
    "tokenizer": check.path,
    "arch": check.name,
    "dtype": check.name,
    "chat_template": check.path,
    "jinja_explicit": check.path,
    "isq": check.name,
    "quant": check.name,
}
PARTS: Mapping[str, Table] = {  # tables inside a model
    "format": {
        "format": check.one_of(*choose.FORMATS),
        "quantized_file": check.path,
        "tok_model_id": check.path,
        "gqa": check.count(1),
    },
    "adapter": {
        "lora": check.path,
        "xlora": check.path,
        "xlora_order": check.path,
        "tgt_non_granular_index": check.count(0),
    },
    "quantization": {
        "in_situ_quant": check.name,
        "from_uqff": check.names,
        "isq_organization": check.one_of("default", "moqe"),
        "imatrix": check.path,
        "calibration_file": check.path,
    },
    "device": {
        "cpu": check.flag,
        "device_layers": check.names,
        "topology": check.path,
        "hf_cache": check.path,
        "max_seq_len": check.count(1),
        "max_batch_size": check.count(1),
    },
    "vision": dict.fromkeys(("max_edge", "max_num_images", "max_image_length"), check.count(1)),
}
PAGED_NAMES = {  # key of [paged_attn]: argument of Runner
    "context_len": "pa_ctxt_len",
    "memory_mb": "pa_gpu_mem",
    "memory_fraction": "pa_gpu_mem_usage",
    "block_size": "pa_blk_size",
}


OF_RUNNER = (
    "enable_search",
    "search_embedding_model",
)  # the other arguments may differ between models
OF_MODEL = {  # key of a model: argument of `Runner.add_model`
    "chat_template": "chat_template",
    "jinja_explicit": "jinja_explicit",
    "isq": "in_situ_quant",
    "quant": "in_situ_quant",
    "in_situ_quant": "in_situ_quant",
    "device_layers": "num_device_layers",
}
MODES: Mapping[str, Json] = {"auto": {}, "on": {"paged_attn": True}, "off": {"no_paged_attn": True}}


def whole(raw: Mapping[str, Any]) -> ConfigFile:
    """The shape with `[[models]]`."""
    sections = {"global": GLOBAL, "server": SERVER, "runtime": RUNTIME, "paged_attn": PAGED}
    top = checked("", raw, TOP, (*sections, "models"))
    part = {name: checked(name, raw.get(name, {}), table) for name, table in sections.items()}
    log, mode = part["global"].pop("log", None), part["paged_attn"].pop("mode", "auto")
    shared = {**part["global"], **part["runtime"], **paged(part["paged_attn"])}
    of_runner = {name: shared.pop(name) for name in OF_RUNNER if name in shared}
    if of_runner.get("search_embedding_model") and not of_runner.get("enable_search"):
        raise RequestError("runtime.search_embedding_model: needs enable_search = true")
    listed = raw.get("models")
    if not isinstance(listed, list) or not listed:
        raise RequestError("models: give at least one [[models]] table")
    entries = [model(f"models[{i}]", one, shared) for i, one in enumerate(listed)]
    models = unique([one for one, _ in entries])
    if top.get("command") == "run" and len(models) > 1:
        raise RequestError('command = "run" takes one model; several can be served')
    return ConfigFile(
        models,
        known_default(top.get("default_model_id"), [one.id for one in models]),
        of_runner | MODES[mode],
        top.get("command"),
        top.get("enable_thinking"),
        alike([cpu for _, cpu in entries]),
        log,
        part["server"],
    )


def model(where: str, raw: Mapping[str, Any], shared: Json) -> tuple[ConfigModel, bool]:
    """One entry of `[[models]]`, and whether it is for the CPU alone."""
    flat = checked(where, raw, MODEL, PARTS)
    for name, table in PARTS.items():
        flat |= checked(f"{where}.{name}", raw.get(name, {}), table)
    if "model_id" not in flat:
        raise RequestError(f"{where}: model_id is missing: a Hugging Face id or a folder")
    own: Json = {}
    for name in [name for name in OF_MODEL if name in flat]:
        if OF_MODEL[name] in own:
            raise RequestError(f"{where}: {OF_MODEL[name]} is given twice; once is enough")
        own[OF_MODEL[name]] = flat.pop(name)
    id, cpu = flat.pop("alias", flat["model_id"]), flat.pop("cpu", False)
    try:
        chosen = choose.which(flat.pop("kind", "auto"), flat)
    except MistralRsError as error:
        raise RequestError(f"{where}: {error}") from None
    return ConfigModel(chosen, id, shared | own), cpu


def checked(where: str, raw: Any, table: Table, others: Iterable[str] = ()) -> Json:
    """The keys of a table after their checks; `others` are tables that are read elsewhere."""
    known = [*table, *others]
    for name in mapping(where, raw):
        if name not in known:
            hint = did_you_mean(name, known) or f"; the keys are: {', '.join(known)}"
            raise RequestError(f"{inside(where, name)} is unknown{hint}")
    return {
        name: test(inside(where, name), raw[name]) for name, test in table.items() if name in raw
    }


def mapping(where: str, value: Any) -> Mapping[str, Any]:
    """A table."""
    if not isinstance(value, Mapping):
        raise check.wrong_type(where, "a table", value)
    return value


def inside(where: str, name: str) -> str:
    """The dotted name of a key."""
    return f"{where}.{name}" if where else name


def paged(section: Mapping[str, Any]) -> Json:
    """The arguments of Runner in `[paged_attn]`."""
    sizes = [name for name in ("context_len", "memory_mb", "memory_fraction") if name in section]
    if len(sizes) > 1:
        raise RequestError(f"paged_attn: {' and '.join(sizes)} exclude each other; give one")
    if section.get("cache_type") == "f8e4m3":
        raise NotSupportedError("paged_attn.cache_type: f8e4m3 is not available yet; leave it out")
    return {PAGED_NAMES[name]: section[name] for name in PAGED_NAMES if name in section}


def alike(flags: list[bool]) -> bool:
    """The one value of `cpu` for all models."""
    if len(set(flags)) > 1:
        raise RequestError("device.cpu: must be the same for all models")
    return flags[0]


def unique(models: list[ConfigModel]) -> tuple[ConfigModel, ...]:
    """The models; two with one id are a mistake."""
    ids = [one.id for one in models]
    twice = next((id for id in ids if ids.count(id) > 1), None)
    if twice is not None:
        raise RequestError(f"models: '{twice}' occurs twice; give each an alias of its own")
    return tuple(models)


def known_default(default: str | None, ids: list[str]) -> str | None:
    """The default model's id, which must be that of a model."""
    if default is not None and default not in ids:
        hint = did_you_mean(default, ids)
        raise RequestError(f"default_model_id: '{default}' is not among {', '.join(ids)}{hint}")
    return default
