"""Which model to load, and from which kind of files. Positional order is the documented one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

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
from mistralrs.api.strict import aliases, strict
from mistralrs.api.variant import Family, publish
from mistralrs.api.which_check import Names, check_member, each


class Which(Family):
    """A model to load. Every model id is a Hugging Face repository or a local directory."""

    Plain: TypeAlias = "WhichPlain"
    XLora: TypeAlias = "WhichXLora"
    Lora: TypeAlias = "WhichLora"
    GGUF: TypeAlias = "WhichGGUF"
    XLoraGGUF: TypeAlias = "WhichXLoraGGUF"
    LoraGGUF: TypeAlias = "WhichLoraGGUF"
    GGML: TypeAlias = "WhichGGML"
    XLoraGGML: TypeAlias = "WhichXLoraGGML"
    LoraGGML: TypeAlias = "WhichLoraGGML"
    Embedding: TypeAlias = "WhichEmbedding"
    VisionPlain: TypeAlias = "WhichVisionPlain"
    MultimodalPlain: TypeAlias = "WhichVisionPlain"
    DiffusionPlain: TypeAlias = "WhichDiffusionPlain"
    Speech: TypeAlias = "WhichSpeech"

    def __post_init__(self) -> None:
        check_member(self)


@strict
@dataclass(frozen=True)
class WhichPlain(Which):
    """A text model from safetensors or PyTorch weights."""

    __qualname__ = "Which.Plain"

    model_id: str
    arch: Architecture | None = None  # None: from config.json
    tokenizer_json: str | None = None
    topology: str | None = None
    organization: IsqOrganization | str | None = None
    from_uqff: Names | None = None
    write_uqff: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None
    calibration_file: str | None = None
    imatrix: str | None = None
    hf_cache_path: str | None = None
    matformer_config_path: str | None = None
    matformer_slice_name: str | None = None


@strict
@dataclass(frozen=True)
class WhichXLora(Which):
    """A text model with X-LoRA: a trained gate mixes its adapters for every token."""

    __qualname__ = "Which.XLora"

    xlora_model_id: str
    order: str  # path of the ordering JSON
    arch: Architecture | None = None
    model_id: str | None = None  # None: the base model named in the ordering
    tokenizer_json: str | None = None
    tgt_non_granular_index: int | None = None
    topology: str | None = None
    from_uqff: Names | None = None
    write_uqff: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None
    hf_cache_path: str | None = None


@aliases(adapter_model_ids="adapter_model_id")
@strict
@dataclass(frozen=True)
class WhichLora(Which):
    """A text model with LoRA adapters: fixed ones by id, or `adapters` that requests choose."""

    __qualname__ = "Which.Lora"

    adapter_model_id: Names | None = None
    arch: Architecture | None = None
    model_id: str | None = None  # None: the base model named in adapter_config.json
    tokenizer_json: str | None = None
    topology: str | None = None
    from_uqff: Names | None = None
    write_uqff: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None
    hf_cache_path: str | None = None
    adapters: Sequence[LoraAdapter] | None = field(default=None, kw_only=True)
    max_adapters: int = field(default=16, kw_only=True)
    max_rank: int = field(default=256, kw_only=True)
    max_bytes: int = field(default=8 << 30, kw_only=True)

    def __post_init__(self) -> None:
        check_member(self)
        if self.adapter_model_id is None and self.model_id is None:
            raise RequestError("Which.Lora: give adapter_model_id, or model_id and adapters")

    @property
    def adapter_model_ids(self) -> tuple[str, ...]:
        """The adapter ids one by one."""
        return each(self.adapter_model_id)


@strict
@dataclass(frozen=True)
class WhichGGUF(Which):
    """A model in GGUF files; `tok_model_id` takes tokenizer and template from elsewhere."""

    __qualname__ = "Which.GGUF"

    quantized_model_id: str
    quantized_filename: Names
    tok_model_id: str | None = None
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None
    tokenizer_json: str | None = field(default=None, kw_only=True)
    mmproj_filename: Names | None = field(default=None, kw_only=True)
    organization: IsqOrganization | str | None = field(default=None, kw_only=True)
    write_uqff: str | None = field(default=None, kw_only=True)
    imatrix: str | None = field(default=None, kw_only=True)
    calibration_file: str | None = field(default=None, kw_only=True)
    max_edge: int | None = field(default=None, kw_only=True)
    multimodal_auto_map_params: VisionAutoMapParams | None = field(default=None, kw_only=True)
    adapters: Sequence[LoraAdapter] | None = field(default=None, kw_only=True)
    max_adapters: int = field(default=16, kw_only=True)
    max_rank: int = field(default=256, kw_only=True)
    max_bytes: int = field(default=8 << 30, kw_only=True)
    hf_cache_path: str | None = field(default=None, kw_only=True)
    matformer_config_path: str | None = field(default=None, kw_only=True)
    matformer_slice_name: str | None = field(default=None, kw_only=True)

    @property
    def quantized_filenames(self) -> tuple[str, ...]:
        """The file names one by one."""
        return each(self.quantized_filename)


@strict
@dataclass(frozen=True)
class WhichXLoraGGUF(Which):
    """A GGUF model with X-LoRA."""

    __qualname__ = "Which.XLoraGGUF"

    quantized_model_id: str
    quantized_filename: Names
    xlora_model_id: str
    order: str
    tok_model_id: str | None = None
    tgt_non_granular_index: int | None = None
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None

    @property
    def quantized_filenames(self) -> tuple[str, ...]:
        """The file names one by one."""
        return each(self.quantized_filename)


@aliases(xlora_model_id="adapters_model_id")
@strict
@dataclass(frozen=True)
class WhichLoraGGUF(Which):
    """A GGUF model with LoRA adapters."""

    __qualname__ = "Which.LoraGGUF"

    quantized_model_id: str
    quantized_filename: Names
    adapters_model_id: str
    order: str
    tok_model_id: str | None = None
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None

    @property
    def quantized_filenames(self) -> tuple[str, ...]:
        """The file names one by one."""
        return each(self.quantized_filename)


@strict
@dataclass(frozen=True)
class WhichGGML(Which):
    """A model in a GGML file (the format before GGUF)."""

    __qualname__ = "Which.GGML"

    quantized_model_id: str
    quantized_filename: str
    tok_model_id: str | None = None  # None: quantized_model_id
    tokenizer_json: str | None = None
    gqa: int | None = None  # query heads per key-value head; None acts as 1
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None


@strict
@dataclass(frozen=True)
class WhichXLoraGGML(Which):
    """A GGML model with X-LoRA."""

    __qualname__ = "Which.XLoraGGML"

    quantized_model_id: str
    quantized_filename: str
    xlora_model_id: str
    order: str
    tok_model_id: str | None = None
    tgt_non_granular_index: int | None = None
    tokenizer_json: str | None = None
    gqa: int | None = None
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None


@aliases(xlora_model_id="adapters_model_id")
@strict
@dataclass(frozen=True)
class WhichLoraGGML(Which):
    """A GGML model with LoRA adapters."""

    __qualname__ = "Which.LoraGGML"

    quantized_model_id: str
    quantized_filename: str
    adapters_model_id: str
    order: str
    tok_model_id: str | None = None
    tokenizer_json: str | None = None
    topology: str | None = None
    dtype: ModelDType = ModelDType.Auto
    auto_map_params: TextAutoMapParams | None = None
    gqa: int | None = None


@strict
@dataclass(frozen=True)
class WhichEmbedding(Which):
    """A text embedding model."""

    __qualname__ = "Which.Embedding"

    model_id: str
    arch: EmbeddingArchitecture | None = None
    tokenizer_json: str | None = None
    topology: str | None = None
    from_uqff: Names | None = None
    write_uqff: str | None = None
    dtype: ModelDType = ModelDType.Auto
    hf_cache_path: str | None = None
    imatrix: str | None = None
    calibration_file: str | None = None


@strict
@dataclass(frozen=True)
class WhichVisionPlain(Which):
    """A model that reads images or audio beside text."""

    __qualname__ = "Which.VisionPlain"

    model_id: str
    arch: VisionArchitecture | None = None  # None: from config.json
    tokenizer_json: str | None = None
    topology: str | None = None
    from_uqff: Names | None = None
    write_uqff: str | None = None
    dtype: ModelDType = ModelDType.Auto
    max_edge: int | None = None  # longer images are scaled down to this many pixels
    auto_map_params: VisionAutoMapParams | None = None
    calibration_file: str | None = None
    imatrix: str | None = None
    hf_cache_path: str | None = None
    matformer_config_path: str | None = None
    matformer_slice_name: str | None = None
    organization: IsqOrganization | str | None = None


@strict
@dataclass(frozen=True)
class WhichDiffusionPlain(Which):
    """An image generation model."""

    __qualname__ = "Which.DiffusionPlain"

    model_id: str
    arch: DiffusionArchitecture
    dtype: ModelDType = ModelDType.Auto


@strict
@dataclass(frozen=True)
class WhichSpeech(Which):
    """A speech generation model; `dac_model_id` is its audio codec."""

    __qualname__ = "Which.Speech"

    model_id: str
    arch: SpeechLoaderType
    dac_model_id: str | None = None  # None: EricB/dac_44khz
    dtype: ModelDType = ModelDType.Auto


publish(Which)
setattr(Which, "MultimodalPlain", WhichVisionPlain)  # noqa: B010
