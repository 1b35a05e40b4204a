"""The architectures by `model_type` of config.json, which is also the name of the file. This table is the registry."""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

from mistralrs.api.errors import NotSupportedError
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.media import Encoder


class Entry(NamedTuple):
    """A class of this package, and the names that others have for the architecture."""

    cls: str
    source: str  # in `architectures` of config.json
    arch: str  # value of `Architecture` in the SDK


REGISTRY = {
    "deepseek_v2": Entry("DeepseekV2", "DeepseekV2ForCausalLM", "deepseekv2"),
    "deepseek_v3": Entry("DeepseekV3", "DeepseekV3ForCausalLM", "deepseekv3"),
    "embeddinggemma": Entry("EmbeddingGemma", "Gemma3TextModel", "embeddinggemma"),
    "gemma": Entry("Gemma", "GemmaForCausalLM", "gemma"),
    "gemma2": Entry("Gemma2", "Gemma2ForCausalLM", "gemma2"),
    "gemma3_text": Entry("Gemma3", "Gemma3ForCausalLM", "gemma3"),
    "gemma3n_text": Entry("Gemma3n", "Gemma3nForCausalLM", "gemma3n"),
    "gemma4_text": Entry("Gemma4", "Gemma4ForCausalLM", "gemma4"),
    "glm4": Entry("Glm4", "Glm4ForCausalLM", "glm4"),
    "glm4_moe": Entry("Glm4Moe", "Glm4MoeForCausalLM", "glm4moe"),
    "glm4_moe_lite": Entry("Glm4MoeLite", "Glm4MoeLiteForCausalLM", "glm4moelite"),
    "gpt_oss": Entry("GptOss", "GptOssForCausalLM", "gptoss"),
    "granitemoehybrid": Entry(
        "GraniteMoeHybrid", "GraniteMoeHybridForCausalLM", "granitemoehybrid"
    ),
    "lfm2": Entry("Lfm2", "Lfm2ForCausalLM", "lfm2"),
    "lfm2_moe": Entry("Lfm2Moe", "Lfm2MoeForCausalLM", "lfm2_moe"),
    "llama": Entry("Llama", "LlamaForCausalLM", "llama"),
    "llama4_text": Entry("Llama4", "Llama4ForCausalLM", "llama4"),
    "mistral": Entry("Mistral", "MistralForCausalLM", "mistral"),
    "mllama_text_model": Entry("Mllama", "MllamaForCausalLM", "mllama_text"),
    "mixtral": Entry("Mixtral", "MixtralForCausalLM", "mixtral"),
    "phi": Entry("Phi", "PhiForCausalLM", "phi2"),
    "phi3": Entry("Phi3", "Phi3ForCausalLM", "phi3"),
    "phimoe": Entry("Phimoe", "PhiMoEForCausalLM", "phi3.5moe"),
    "qwen2": Entry("Qwen2", "Qwen2ForCausalLM", "qwen2"),
    "qwen3_5_text": Entry("Qwen3_5", "Qwen3_5ForCausalLM", "qwen3_5"),
    "qwen3": Entry("Qwen3", "Qwen3ForCausalLM", "qwen3"),
    "qwen3_moe": Entry("Qwen3Moe", "Qwen3MoeForCausalLM", "qwen3moe"),
    "qwen3_next": Entry("Qwen3Next", "Qwen3NextForCausalLM", "qwen3next"),
    "smollm3": Entry("SmolLM3", "SmolLM3ForCausalLM", "smollm3"),
    "starcoder2": Entry("Starcoder2", "Starcoder2ForCausalLM", "starcoder2"),
}

# Models that also read images or sounds: each file is an Encoder, which hangs on one of the models above.
MEDIA = {
    "gemma3": Entry("Gemma3", "Gemma3ForConditionalGeneration", "gemma3"),
    "gemma3n": Entry("Gemma3n", "Gemma3nForConditionalGeneration", "Gemma3n"),
    "gemma4": Entry("Gemma4", "Gemma4ForConditionalGeneration", "Gemma4"),
    "idefics2": Entry("Idefics2", "Idefics2ForConditionalGeneration", "idefics2"),
    "idefics3": Entry("Idefics3", "Idefics3ForConditionalGeneration", "idefics3"),
    "lfm2_vl": Entry("Lfm2VL", "Lfm2VlForConditionalGeneration", "lfm2vl"),
    "llama4": Entry("Llama4", "Llama4ForConditionalGeneration", "llama4"),
    "llava": Entry("Llava", "LlavaForConditionalGeneration", "llava"),
    "llava_next": Entry("LlavaNext", "LlavaNextForConditionalGeneration", "llava-next"),
    "minicpmo": Entry("MiniCPMO", "MiniCPMO", "minicpmo"),
    "mistral3": Entry("Mistral3", "Mistral3ForConditionalGeneration", "mistral3"),
    "mllama": Entry("Mllama", "MllamaForConditionalGeneration", "vllama"),
    "phi3_v": Entry("Phi3V", "Phi3VForCausalLM", "phi3v"),
    "phi4_multimodal": Entry("Phi4Multimodal", "Phi4MultimodalForCausalLM", "phi4_multimodal"),
    "phi4mm": Entry("Phi4MM", "Phi4MMForCausalLM", "phi4mm"),
    "qwen2_5_vl": Entry("Qwen2_5VL", "Qwen2_5_VLForConditionalGeneration", "qwen2_5vl"),
    "qwen2_vl": Entry("Qwen2VL", "Qwen2VLForConditionalGeneration", "qwen2vl"),
    "qwen3_5": Entry("Qwen3_5VL", "Qwen3_5ForConditionalGeneration", "Qwen3_5"),
    "qwen3_5_moe": Entry("Qwen3_5Moe", "Qwen3_5MoeForConditionalGeneration", "Qwen3_5Moe"),
    "qwen3_vl": Entry("Qwen3VL", "Qwen3VLForConditionalGeneration", "Qwen3VL"),
    "qwen3_vl_moe": Entry("Qwen3VLMoe", "Qwen3VLMoeForConditionalGeneration", "Qwen3VLMoE"),
    "smolvlm": Entry("SmolVLM", "SmolVLMForConditionalGeneration", "smolvlm"),
    "voxtral": Entry("Voxtral", "VoxtralForConditionalGeneration", "Voxtral"),
}

# What `EmbeddingArchitecture` calls by another name: any decoder gives embeddings when its head is left off.
EMBEDDINGS = {"qwen3embedding": "qwen3"}

EVERY = REGISTRY | MEDIA
SOURCES = {entry.source: key for key, entry in EVERY.items()}
REGISTERED: dict[str, type[Decoder]] = {}  # by users, under the class name


def register_architecture(source: str, decoder: type[Decoder]) -> None:
    """Let checkpoints whose `architectures` in config.json names `source` load as `decoder`."""
    SOURCES[source] = source
    REGISTERED[source] = decoder


def find(key: str) -> type[Decoder]:
    """The text model of a registry key; raises NotSupportedError for another key."""
    if key in REGISTERED:
        return REGISTERED[key]
    if key not in REGISTRY:
        raise NotSupportedError(
            f"text model '{key}' is not available; these are: {', '.join(REGISTRY)}"
        )
    return getattr(import_module(f".{key}", __name__), REGISTRY[key].cls)


def encoder(key: str) -> type[Encoder] | None:
    """What reads media in the model of a registry key; None for a text model."""
    return getattr(import_module(f".{key}", __name__), MEDIA[key].cls) if key in MEDIA else None


def key_of(arch: str, table: Mapping[str, Entry] = REGISTRY) -> str:
    """The registry key of an SDK architecture name; raises NotSupportedError when it has no file yet."""
    for key, entry in table.items():
        if EMBEDDINGS.get(arch, arch) in (entry.arch, key):
            return key
    known = ", ".join(sorted(e.arch for e in table.values()))
    raise NotSupportedError(f"architecture '{arch}' is not available yet; these are: {known}")
