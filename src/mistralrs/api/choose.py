"""The options of a model by the names of the command line and of TOML files -> the member of Which that they mean."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mistralrs.api import check
from mistralrs.api.enums import Architecture, DiffusionArchitecture, SpeechLoaderType
from mistralrs.api.errors import RequestError
from mistralrs.api.options import TextAutoMapParams, VisionAutoMapParams
from mistralrs.api.which import (
    Which,
    WhichDiffusionPlain,
    WhichEmbedding,
    WhichGGML,
    WhichGGUF,
    WhichLora,
    WhichLoraGGML,
    WhichLoraGGUF,
    WhichPlain,
    WhichSpeech,
    WhichVisionPlain,
    WhichXLora,
    WhichXLoraGGML,
    WhichXLoraGGUF,
)

KINDS = ("auto", "text", "vision", "diffusion", "speech", "embedding")
FORMATS = ("plain", "gguf", "ggml")

TEXT: Mapping[tuple[str, str | None], Any] = {  # format, adapter
    ("plain", None): WhichPlain,
    ("plain", "lora"): WhichLora,
    ("plain", "xlora"): WhichXLora,
    ("gguf", None): WhichGGUF,
    ("gguf", "lora"): WhichLoraGGUF,
    ("gguf", "xlora"): WhichXLoraGGUF,
    ("ggml", None): WhichGGML,
    ("ggml", "lora"): WhichLoraGGML,
    ("ggml", "xlora"): WhichXLoraGGML,
}
OTHER: Mapping[str, Any] = {
    "vision": WhichVisionPlain,
    "diffusion": WhichDiffusionPlain,
    "speech": WhichSpeech,
    "embedding": WhichEmbedding,
}
ALONE = {  # the architecture where there is only one
    WhichDiffusionPlain: DiffusionArchitecture.Flux,
    WhichSpeech: SpeechLoaderType.Dia,
}
FIELDS: Mapping[str, tuple[str, ...]] = {  # option: the field it fills, the first that a member has
    "model_id": ("quantized_model_id", "model_id"),
    "tokenizer": ("tokenizer_json",),
    "quantized_file": ("quantized_filename",),
    "lora": ("adapters_model_id", "adapter_model_id"),
    "xlora": ("xlora_model_id",),
    "xlora_order": ("order",),
    "isq_organization": ("organization",),
    "hf_cache": ("hf_cache_path",),
}
LIMITS = ("max_seq_len", "max_batch_size", "max_num_images", "max_image_length")
IMAGES = ("max_edge", "max_num_images", "max_image_length")


def which(kind: str, options: Mapping[str, Any]) -> Which:
    """The member of Which for a model; an option that the member has no use for is refused.

    `kind` is one of KINDS. Options that are None count as left out.
    """
    kind = check.one_of(*KINDS)("kind", kind)
    given = {name: value for name, value in options.items() if value is not None}
    format = storage(given.pop("format", None), given)
    member = member_of(kind, format, given)
    if given.get("xlora") and not given.get("xlora_order"):
        raise RequestError("xlora needs xlora_order, the file with the order of its adapters")
    fields = {field.name for field in dataclasses.fields(member)}
    filled = limits(member, fields, given)
    for name, value in given.items():
        field = next((one for one in FIELDS.get(name, (name,)) if one in fields), None)
        if field is None:
            kind = member.__qualname__
            raise RequestError(f"{name} has no effect, {kind} has no argument for it: leave it out")
        filled[field] = value
    if member in ALONE:
        filled.setdefault("arch", ALONE[member])
    chosen: Which = member(**filled)
    return chosen


def storage(format: str | None, given: Mapping[str, Any]) -> str:
    """The weight format; a file name alone means GGUF."""
    file = given.get("quantized_file")
    chosen = format or ("gguf" if file else "plain")
    if chosen != "plain" and not file:
        raise RequestError(
            f"--format {chosen} needs the file: -f NAME.{chosen} (quantized_file in TOML, "
            "quantized_filename in Python)"
        )
    if chosen == "plain" and file:
        raise RequestError("-f names a GGUF or GGML file: drop `--format plain`")
    return chosen


def member_of(kind: str, format: str, given: Mapping[str, Any]) -> Any:
    """The class of Which."""
    if given.get("lora") and given.get("xlora"):
        raise RequestError("lora and xlora exclude each other: give one")
    adapter = next((name for name in ("lora", "xlora") if given.get(name)), None)
    if format == "plain" and adapter is None:
        if kind in OTHER:
            return OTHER[kind]
        if kind == "auto" and sees(given):
            return WhichVisionPlain
    elif kind in OTHER:
        raise RequestError(f"a {kind} model takes plain weights without adapters")
    return TEXT[format, adapter]


def sees(given: Mapping[str, Any]) -> bool:
    """Whether the options are those of a model that reads images."""
    if any(name in given for name in IMAGES):
        return True
    try:
        Architecture(given.get("arch", "llama"))
    except RequestError:
        return True  # the member for images names what is wrong, if it is no architecture at all
    return False


def limits(member: Any, fields: set[str], given: dict[str, Any]) -> dict[str, Any]:
    """The limits that memory is planned for, taken out of `given`, as the member's field."""
    kind = VisionAutoMapParams if member is WhichVisionPlain else TextAutoMapParams
    known = (
        {field.name for field in dataclasses.fields(kind)} if "auto_map_params" in fields else ()
    )
    found = {name: given.pop(name) for name in LIMITS if name in given and name in known}
    return {"auto_map_params": kind(**found)} if found else {}
