"""Write a checkpoint with random weights in the shape of a well-known model: speed does not depend on the values.

python bench/make_model.py {qwen3-0.6b,llama-3.2-1b,qwen3-76m,tiny} DIRECTORY

The vocabulary is a byte-level one without merges beyond the 256 bytes, so a text has as many tokens as bytes;
the embedding has the real number of rows.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import decoders, models, pre_tokenizers

END = "<|end|>"
TEMPLATE = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
COMMON = dict(
    hidden_act="silu",
    tie_word_embeddings=True,
    attention_bias=False,
    dtype="bfloat16",
    bos_token_id=None,
    eos_token_id=256,
)
QWEN3 = dict(
    COMMON,
    architectures=["Qwen3ForCausalLM"],
    model_type="qwen3",
    rms_norm_eps=1e-6,
    rope_theta=1000000.0,
    max_position_embeddings=40960,
)
LLAMA3 = dict(
    COMMON,
    architectures=["LlamaForCausalLM"],
    model_type="llama",
    rms_norm_eps=1e-5,
    rope_theta=500000.0,
    max_position_embeddings=131072,
    rope_scaling=dict(
        rope_type="llama3",
        factor=32.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    ),
)


def sizes(hidden: int, layers: int, heads: int, groups: int, inner: int, vocabulary: int, dim: int):
    """The size settings of a config.json."""
    return dict(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=vocabulary,
        head_dim=dim,
    )


SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": QWEN3 | sizes(1024, 28, 16, 8, 3072, 151936, 128),
    "llama-3.2-1b": LLAMA3 | sizes(2048, 16, 32, 8, 8192, 128256, 64),
    "qwen3-76m": QWEN3 | sizes(768, 8, 12, 4, 2304, 32000, 64),
    "tiny": QWEN3 | sizes(128, 2, 4, 2, 256, 512, 32),
}


def shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor; norms are the ones with one dimension."""
    hidden, inner, dim = (config[k] for k in ("hidden_size", "intermediate_size", "head_dim"))
    queries, keys = (config[f"num_{k}_heads"] * dim for k in ("attention", "key_value"))
    layer = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    if config["model_type"] == "qwen3":
        layer |= {"self_attn.q_norm": (dim,), "self_attn.k_norm": (dim,)}
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for i in range(config["num_hidden_layers"]):
        yield from ((f"model.layers.{i}.{name}.weight", shape) for name, shape in layer.items())
    yield "model.norm.weight", (hidden,)


def weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Norms of ones and normal matrices, the same for the same shape."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.ones(shape, dtype=torch.bfloat16)
        if len(shape) == 1
        else (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16)
        for name, shape in shapes(config)
    }


def tokenizer() -> tokenizers.Tokenizer:
    """The 256 bytes, and a token that ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    one = tokenizers.Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    one.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    one.decoder = decoders.ByteLevel()
    one.add_special_tokens([END])
    return one


def write(config: dict[str, Any], folder: Path) -> None:
    """Write all files of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(config), folder / "model.safetensors", {"format": "pt"})
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    named = dict(tokenizer_class="PreTrainedTokenizerFast", eos_token=END, chat_template=TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps(named, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    write(SHAPES[args.shape], args.directory)
