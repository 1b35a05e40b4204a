"""The architectures by `model_type` of config.json, which is also the name of the file. This table is the registry."""

from importlib import import_module
from typing import NamedTuple

from mistralrs.api.errors import NotSupportedError
from mistralrs.nn.decoder import Decoder


class Entry(NamedTuple):
    """A class of this package, and the names that others have for the architecture."""

    cls: str
    source: str  # in `architectures` of config.json
    arch: str  # value of `Architecture` in the SDK


REGISTRY = {
    "deepseek_v2": Entry("DeepseekV2", "DeepseekV2ForCausalLM", "deepseekv2"),
    "deepseek_v3": Entry("DeepseekV3", "DeepseekV3ForCausalLM", "deepseekv3"),
    "gemma": Entry("Gemma", "GemmaForCausalLM", "gemma"),
    "gemma2": Entry("Gemma2", "Gemma2ForCausalLM", "gemma2"),
    "gemma3_text": Entry("Gemma3", "Gemma3ForCausalLM", "gemma3"),
    "glm4": Entry("Glm4", "Glm4ForCausalLM", "glm4"),
    "glm4_moe": Entry("Glm4Moe", "Glm4MoeForCausalLM", "glm4moe"),
    "glm4_moe_lite": Entry("Glm4MoeLite", "Glm4MoeLiteForCausalLM", "glm4moelite"),
    "gpt_oss": Entry("GptOss", "GptOssForCausalLM", "gptoss"),
    "granitemoehybrid": Entry("GraniteMoeHybrid", "GraniteMoeHybridForCausalLM", "granitemoehybrid"),
    "lfm2": Entry("Lfm2", "Lfm2ForCausalLM", "lfm2"),
    "lfm2_moe": Entry("Lfm2Moe", "Lfm2MoeForCausalLM", "lfm2_moe"),
    "llama": Entry("Llama", "LlamaForCausalLM", "llama"),
    "mistral": Entry("Mistral", "MistralForCausalLM", "mistral"),
    "mixtral": Entry("Mixtral", "MixtralForCausalLM", "mixtral"),
    "phi": Entry("Phi", "PhiForCausalLM", "phi2"),
    "phi3": Entry("Phi3", "Phi3ForCausalLM", "phi3"),
    "qwen2": Entry("Qwen2", "Qwen2ForCausalLM", "qwen2"),
    "qwen3": Entry("Qwen3", "Qwen3ForCausalLM", "qwen3"),
    "qwen3_moe": Entry("Qwen3Moe", "Qwen3MoeForCausalLM", "qwen3moe"),
    "qwen3_next": Entry("Qwen3Next", "Qwen3NextForCausalLM", "qwen3next"),
    "smollm3": Entry("SmolLM3", "SmolLM3ForCausalLM", "smollm3"),
    "starcoder2": Entry("Starcoder2", "Starcoder2ForCausalLM", "starcoder2"),
}

SOURCES = {entry.source: key for key, entry in REGISTRY.items()}
REGISTERED: dict[str, type[Decoder]] = {}  # by users, under the class name


def register_architecture(source: str, decoder: type[Decoder]) -> None:
    """Let checkpoints whose `architectures` in config.json names `source` load as `decoder`."""
    SOURCES[source] = source
    REGISTERED[source] = decoder


def find(key: str) -> type[Decoder]:
    """The model class of a registry key."""
    if key in REGISTERED:
        return REGISTERED[key]
    return getattr(import_module(f".{key}", __name__), REGISTRY[key].cls)


def key_of(arch: str) -> str:
    """The registry key of an SDK architecture name; raises NotSupportedError when it has no file yet."""
    for key, entry in REGISTRY.items():
        if arch in (entry.arch, key):
            return key
    known = ", ".join(sorted(e.arch for e in REGISTRY.values()))
    raise NotSupportedError(f"architecture '{arch}' is not available yet; these are: {known}")
