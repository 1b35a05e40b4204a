"""A description of a whole Runner: models, their options, and how it is run or served; the shape with `[[models]]`."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mistralrs.api import check, choose
from mistralrs.api.enums import ModelDType
from mistralrs.api.errors import MistralRsError, RequestError
from mistralrs.api.strict import did_you_mean
from mistralrs.api.which import Which


@dataclass(frozen=True)
class ModelConfig:
    """A model, and what overrides the Runner's own arguments for it."""

    which: Which
    alias: str | None = None  # the id under which requests name it
    in_situ_quant: str | None = None
    chat_template: str | None = None
    jinja_explicit: str | None = None
    num_device_layers: list[str] | None = None


@dataclass(frozen=True)
class Config:
    """What a file says. `runner` are arguments of Runner that hold for all models."""

    models: tuple[ModelConfig, ...]
    command: str = "serve"  # or "run"
    default: str | None = None  # the id of a model
    cpu: bool = False  # leave every GPU alone
    runner: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)  # options of `mistralrs serve`
    log: str | None = None
    enable_thinking: bool | None = None  # of `mistralrs run`


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
    "kind": check.one_of(*choose.KINDS),
    "model_id": check.path,
    "alias": check.name,
    "tokenizer": check.path,
    "arch": check.name,
    "dtype": check.choice(ModelDType),
    "chat_template": check.path,
    "jinja_explicit": check.path,
    "isq": check.name,
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
OWN = ("alias", "chat_template", "jinja_explicit")  # keys of a model that are not those of Which


def whole(raw: Mapping[str, Any]) -> Config:
    """The shape with `[[models]]`."""
    sections = {"global": GLOBAL, "server": SERVER, "runtime": RUNTIME, "paged_attn": PAGED}
    top = checked("", raw, TOP, (*sections, "models"))
    part = {name: checked(name, raw.get(name, {}), table) for name, table in sections.items()}
    listed = check.filled(check.items(mapping))("models", raw.get("models"))
    models = [model(f"models[{i}]", one) for i, one in enumerate(listed)]
    command = top.get("command", "serve")
    if command == "run" and len(models) > 1:
        raise RequestError('command = "run" takes one model; serve several with "serve"')
    log = part["global"].pop("log", None)
    return Config(
        models=unique(one for one, _ in models),
        command=command,
        default=known_default(top.get("default_model_id"), [one for one, _ in models]),
        cpu=alike([cpu for _, cpu in models]),
        runner={**part["global"], **searched(part["runtime"]), **paged(part["paged_attn"])},
        server=part["server"],
        log=log,
        enable_thinking=top.get("enable_thinking"),
    )


def model(where: str, raw: Mapping[str, Any]) -> tuple[ModelConfig, bool]:
    """One entry of `[[models]]`, and whether it is for the CPU alone."""
    flat = checked(where, raw, MODEL, PARTS)
    for name, table in PARTS.items():
        flat |= checked(f"{where}.{name}", raw.get(name, {}), table)
    if "model_id" not in flat:
        raise RequestError(f"{where}: needs model_id, a Hugging Face id or a folder")
    if "isq" in flat and "in_situ_quant" in flat:
        raise RequestError(f"{where}: isq is another name of in_situ_quant; give one")
    own = {name: flat.pop(name) for name in OWN if name in flat}
    isq = flat.pop("isq", None) or flat.pop("in_situ_quant", None)
    layers, cpu = flat.pop("device_layers", None), flat.pop("cpu", False)
    try:
        chosen = choose.which(flat.pop("kind", "auto"), flat)
    except MistralRsError as error:
        raise RequestError(f"{where}: {error}") from None
    return ModelConfig(chosen, in_situ_quant=isq, num_device_layers=layers, **own), cpu


def checked(where: str, raw: Any, table: Table, others: Iterable[str] = ()) -> dict[str, Any]:
    """The keys of a table after their checks; `others` are tables that are read elsewhere."""
    known = [*table, *others]
    for name in mapping(where, raw):
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            raise RequestError(f"{inside(where, name)}: unknown key{hint}")
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


def searched(runtime: dict[str, Any]) -> dict[str, Any]:
    """The runtime's arguments; a search model without a search is a mistake."""
    if runtime.get("search_embedding_model") and not runtime.get("enable_search"):
        raise RequestError("runtime.search_embedding_model: needs enable_search = true")
    return runtime


def paged(section: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of Runner in `[paged_attn]`."""
    sizes = [name for name in ("context_len", "memory_mb", "memory_fraction") if name in section]
    if len(sizes) > 1:
        raise RequestError(f"paged_attn: {' and '.join(sizes)} exclude each other; give one")
    out = {PAGED_NAMES[name]: section[name] for name in PAGED_NAMES if name in section}
    mode = {"on": {"paged_attn": True}, "off": {"no_paged_attn": True}}
    kind = {"pa_cache_type": "f8e4m3"} if section.get("cache_type") == "f8e4m3" else {}
    return out | mode.get(section.get("mode", "auto"), {}) | kind


def alike(flags: list[bool]) -> bool:
    """The one value of `cpu` for all models."""
    if len(set(flags)) > 1:
        raise RequestError("models: cpu must be the same for all of them")
    return flags[0]


def name_of(one: ModelConfig) -> str:
    """The id under which a model is known."""
    fields = ("model_id", "quantized_model_id", "adapter_model_id", "xlora_model_id")
    named = (getattr(one.which, name, None) for name in fields)
    return one.alias or str(next(filter(None, named)))


def unique(models: Iterable[ModelConfig]) -> tuple[ModelConfig, ...]:
    """The models; two with one id are a mistake."""
    found: dict[str, ModelConfig] = {}
    for one in models:
        if name_of(one) in found:
            raise RequestError(
                f"models: '{name_of(one)}' occurs twice; give one of them another alias"
            )
        found[name_of(one)] = one
    return tuple(found.values())


def known_default(default: str | None, models: list[ModelConfig]) -> str | None:
    """The default model's id, which must be that of a model."""
    names = [
        name
        for one in models
        for name in (name_of(one), name_of(dataclasses.replace(one, alias=None)))
    ]
    if default is not None and default not in names:
        hint = did_you_mean(default, names)
        raise RequestError(
            f"default_model_id: no model '{default}'{hint or '; name one of the models'}"
        )
    return default
