"""The older shapes of a description: a TOML selector of one model, and a JSON object of several."""

from collections.abc import Mapping
from typing import Any

from mistralrs.api import check
from mistralrs.api.config import Config, ModelConfig, Table, checked, mapping, unique
from mistralrs.api.errors import RequestError
from mistralrs.api.which import Which

SELECTORS: Mapping[str, Any] = {  # in the order in which they are tried
    "Plain": Which.Plain,
    "VisionPlain": Which.VisionPlain,
    "XLora": Which.XLora,
    "Lora": Which.Lora,
    "GGUF": Which.GGUF,
    "XLoraGGUF": Which.XLoraGGUF,
    "LoraGGUF": Which.LoraGGUF,
    "GGML": Which.GGML,
    "XLoraGGML": Which.XLoraGGML,
    "LoraGGML": Which.LoraGGML,
    "Embedding": Which.Embedding,
    "DiffusionPlain": Which.DiffusionPlain,
    "Speech": Which.Speech,
}
OVERRIDES: Table = {
    "alias": check.name,
    "chat_template": check.path,
    "jinja_explicit": check.path,
    "num_device_layers": check.names,
    "in_situ_quant": check.name,
}


def selector(raw: Mapping[str, Any]) -> Config:
    """The shape with one `[model]`: the fields of a member of Which, which the keys tell."""
    checked("", raw, {}, ("model", "speculative", "anymoe"))
    for name, what in (("speculative", "speculative decoding"), ("anymoe", "AnyMoE")):
        if name in raw:
            raise RequestError(f"[{name}]: {what} is not available yet; leave it out")
    fields = mapping("model", raw["model"])
    return Config(models=(ModelConfig(inferred(fields)),))


def inferred(fields: Mapping[str, Any]) -> Which:
    """The first member of Which that has all these fields and accepts them."""
    problem: Exception | None = None
    for kind in SELECTORS.values():
        try:
            member: Which = kind(**fields)
        except TypeError as error:  # a field too many or too few
            problem = problem or error
        except RequestError as error:
            problem = error
        else:
            return member
    raise RequestError(f"[model] describes no model: {problem}")


def several(raw: Mapping[str, Any]) -> Config:
    """The JSON shape: `{label: {"Plain": {...}, "alias": ...}}`."""
    models = [labeled(label, mapping(label, one)) for label, one in raw.items()]
    if not models:
        raise RequestError("names no model")
    return Config(models=unique(models))


def labeled(label: str, raw: Mapping[str, Any]) -> ModelConfig:
    """One model of the JSON shape."""
    overrides = checked(label, raw, OVERRIDES, (*SELECTORS, "Run"))
    kinds = [name for name in raw if name in SELECTORS]
    if "Run" in raw and not kinds:
        return ModelConfig(inferred(mapping(label, raw["Run"])), **overrides)
    if len(kinds) != 1:
        raise RequestError(f"{label}: give one of {', '.join(SELECTORS)}")
    fields = mapping(f"{label}.{kinds[0]}", raw[kinds[0]])
    try:
        chosen = SELECTORS[kinds[0]](**fields)
    except (TypeError, RequestError) as error:
        raise RequestError(f"{label}: {error}") from None
    return ModelConfig(chosen, **overrides)
