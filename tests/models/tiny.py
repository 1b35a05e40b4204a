"""Tiny random-weight checkpoints written by transformers, which is the reference of the parity tests."""

from pathlib import Path

import torch
import transformers

SIZES = dict(
    vocab_size=99,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    tie_word_embeddings=False,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)


def rope(kind: str, **spec) -> dict:
    """Rope settings in the spelling of transformers 5."""
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **spec))


LLAMA3 = dict(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32
)
YARN = dict(factor=4.0, original_max_position_embeddings=32)

# name: (model_type's class prefix in transformers, settings that differ from SIZES)
CASES = {
    "llama": ("Llama", {}),
    "llama tied, one kv head": ("Llama", dict(tie_word_embeddings=True, num_key_value_heads=1)),
    "llama biases, all kv heads": (
        "Llama",
        dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4),
    ),
    "llama linear": ("Llama", rope("linear", factor=2.0)),
    "llama dynamic": ("Llama", dict(max_position_embeddings=24) | rope("dynamic", factor=4.0)),
    "llama llama3": ("Llama", rope("llama3", **LLAMA3)),
    "llama yarn": ("Llama", rope("yarn", **YARN)),
    "llama yarn, own temperature": (
        "Llama",
        rope("yarn", attention_factor=1.3, beta_fast=16.0, beta_slow=2.0, **YARN),
    ),
    "mistral": ("Mistral", dict(sliding_window=None)),
    "mistral window": ("Mistral", dict(sliding_window=6, head_dim=32)),
    "qwen2": ("Qwen2", {}),
    "qwen2 tied": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2 window on the last layers": (
        "Qwen2",
        dict(use_sliding_window=True, sliding_window=6, max_window_layers=2),
    ),
    "qwen3": ("Qwen3", dict(head_dim=32)),
    "qwen3 biases, yarn": ("Qwen3", dict(attention_bias=True) | rope("yarn", **YARN)),
    "qwen3 window, tied": (
        "Qwen3",
        dict(
            use_sliding_window=True,
            sliding_window=6,
            max_window_layers=1,
            tie_word_embeddings=True,
            head_dim=16,
        ),
    ),
}


def reference(case: str) -> transformers.PreTrainedModel:
    """The transformers model of a case, with every norm and bias away from its initial value."""
    prefix, settings = CASES[case]
    config = getattr(transformers, f"{prefix}Config")(**SIZES | settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).eval().float()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise * 0.2 + (1.0 if "norm" in name and parameter.dim() == 1 else 0.0)
    return model


def logits(case: str, tokens: list[int]) -> torch.Tensor:
    """The reference's logits [T, V]; from a fresh model, since dynamic rope there remembers longer inputs."""
    with torch.inference_mode():
        return reference(case)(torch.tensor([tokens])).logits[0]


def save(model: transformers.PreTrainedModel, folder: Path, **options) -> Path:
    """Write a checkpoint as transformers does."""
    model.save_pretrained(folder, **options)
    return folder
