"""The older shapes of a description: a TOML selector of one model, and a JSON object of several."""

from collections.abc import Mapping
from typing import Any

from mistralrs.api import check
from mistralrs.api.config import ConfigFile, ConfigModel, Table, checked, mapping, unique
from mistralrs.api.errors import NotSupportedError, RequestError
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
LATER = {"speculative": "speculative decoding", "anymoe": "AnyMoE"}
IDS = ("model_id", "quantized_model_id", "adapter_model_id", "xlora_model_id")


def selector(raw: Mapping[str, Any]) -> ConfigFile:
    """The shape with one `[model]`: the fields of a member of Which, which the keys tell."""
    for name in LATER:
        if name in raw:
            raise NotSupportedError(f"[{name}] is not available yet ({LATER[name]}); leave it out")
    checked("", raw, {}, ("model",))
    return ConfigFile((named(inferred("model", raw["model"]), {}),))


def inferred(where: str, raw: Any) -> Which:
    """The first member of Which that has all these fields and accepts them."""
    fields, problem = mapping(where, raw), ""
    for kind in SELECTORS.values():
        try:
            member: Which = kind(**fields)
        except RequestError as error:
            problem = str(error)
        except TypeError as error:  # a field too many or too few
            problem = problem or str(error)
        else:
            return member
    raise RequestError(f"{where}: no member of Which has just these fields ({problem})")


def several(raw: Mapping[str, Any]) -> ConfigFile:
    """The JSON shape: `{label: {"Plain": {...}, "alias": ...}}`."""
    if not raw:
        raise RequestError("names no model")
    return ConfigFile(unique([labeled(label, mapping(label, one)) for label, one in raw.items()]))


def labeled(label: str, raw: Mapping[str, Any]) -> ConfigModel:
    """One model of the JSON shape."""
    options = checked(label, raw, OVERRIDES, (*SELECTORS, "Run"))
    kinds = [name for name in raw if name in SELECTORS or name == "Run"]
    if len(kinds) != 1:
        raise RequestError(f"{label}: give one of {', '.join(SELECTORS)}, Run")
    where = f"{label}.{kinds[0]}"
    if kinds[0] == "Run":
        return named(inferred(where, raw["Run"]), options)
    try:
        return named(SELECTORS[kinds[0]](**mapping(where, raw[kinds[0]])), options)
    except (TypeError, RequestError) as error:
        raise RequestError(f"{where}: {error}") from None


def named(which: Which, options: dict[str, Any]) -> ConfigModel:
    """A model with its alias as its id, else with the hub id or folder."""
    known = (getattr(which, name, None) for name in IDS)
    return ConfigModel(which, options.pop("alias", None) or str(next(filter(None, known))), options)
