"""Checks of the fields of Which members."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from mistralrs.api import check
from mistralrs.api.enums import (
    Architecture,
    DiffusionArchitecture,
    EmbeddingArchitecture,
    IsqOrganization,
    ModelDType,
    SpeechLoaderType,
    VisionArchitecture,
)
from mistralrs.api.errors import RequestError
from mistralrs.api.lora import LoraAdapter
from mistralrs.api.options import TextAutoMapParams, VisionAutoMapParams

Names: TypeAlias = str | Sequence[str]  # one name, several, or several joined by ";"


def each(names: Names | None) -> tuple[str, ...]:
    """Return the names one by one, split at ";"."""
    parts = [names] if isinstance(names, str) else names or ()
    return tuple(part.strip() for text in parts for part in text.split(";") if part.strip())


def _names(where: str, value: Any) -> str | tuple[str, ...]:
    """One name as a string, several as a tuple, however they were written."""
    found = each([check.path(where, v) for v in check.names(where, value)])
    if not found:
        raise RequestError(f"{where}: is empty")
    return found[0] if len(found) == 1 else found


def check_member(which: Any) -> None:
    """Check and convert all fields of a member of Which."""
    if getattr(which, "auto_map_params", None) == (None,):  # how old documents write "unset"
        object.__setattr__(which, "auto_map_params", None)
    check.apply(which, _CHECKS | _OWN_CHECKS.get(type(which).__name__, {}))
    if getattr(which, "imatrix", None) and getattr(which, "calibration_file", None):
        raise RequestError(
            f"{type(which).__qualname__}: imatrix and calibration_file exclude each other; "
            "give the file that was computed (imatrix) or the text to compute it from"
        )


_PATHS = [
    "model_id",
    "xlora_model_id",
    "adapters_model_id",
    "quantized_model_id",
    "tok_model_id",
    "dac_model_id",
    "order",
    "tokenizer_json",
    "topology",
    "write_uqff",
    "calibration_file",
    "imatrix",
    "hf_cache_path",
    "matformer_config_path",
    "matformer_slice_name",
]
_CHECKS: dict[str, check.Check] = {
    **dict.fromkeys(_PATHS, check.path),
    **dict.fromkeys(
        ("from_uqff", "adapter_model_id", "mmproj_filename", "quantized_filename"), _names
    ),
    "arch": check.choice(Architecture),
    "organization": check.choice(IsqOrganization),
    "dtype": check.choice(ModelDType),
    "auto_map_params": check.instance(TextAutoMapParams),
    "multimodal_auto_map_params": check.instance(VisionAutoMapParams),
    "tgt_non_granular_index": check.count(0),
    "gqa": check.count(1),
    "max_edge": check.count(1),
    "adapters": check.frozen(check.items(check.instance(LoraAdapter))),
    "max_adapters": check.count(1),
    "max_rank": check.count(1),
    "max_bytes": check.count(1),
}
_OWN_CHECKS: dict[str, dict[str, check.Check]] = {
    "WhichEmbedding": {"arch": check.choice(EmbeddingArchitecture)},
    "WhichVisionPlain": {
        "arch": check.choice(VisionArchitecture),
        "auto_map_params": check.instance(VisionAutoMapParams),
    },
    "WhichDiffusionPlain": {"arch": check.choice(DiffusionArchitecture)},
    "WhichSpeech": {"arch": check.choice(SpeechLoaderType)},
    "WhichGGML": {"quantized_filename": check.path},
    "WhichXLoraGGML": {"quantized_filename": check.path},
    "WhichLoraGGML": {"quantized_filename": check.path},
}
