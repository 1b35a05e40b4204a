"""The architectures, by the class name in `architectures` of config.json. One file each; this table is the registry."""

from importlib import import_module

from ..nn.decoder import Decoder

REGISTRY = {
    "LlamaForCausalLM": ("llama", "Llama"),
    "MistralForCausalLM": ("mistral", "Mistral"),
    "Qwen2ForCausalLM": ("qwen2", "Qwen2"),
    "Qwen3ForCausalLM": ("qwen3", "Qwen3"),
}


def find(name: str) -> type[Decoder]:
    """The model class for a class name of the registry."""
    module, cls = REGISTRY[name]
    return getattr(import_module(f".{module}", __name__), cls)
