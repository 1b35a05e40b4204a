"""Write a GGUF file with random weights in the shape of a well-known model, its types mixed as llama.cpp mixes them.

python bench/make_gguf.py {qwen3-0.6b,llama-3.2-1b,tiny} {Q4_K_M,Q8_0,BF16} FILE

A matrix repeats a few thousand random rows, which no engine can tell from more of them. Tokens are bytes, as in
make_model.py.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from make_model import END, SHAPES, TEMPLATE, shapes, tokenizer

from mistralrs.quant.ggml import KINDS
from mistralrs.quant.ggml_quantize import quantize

ROWS = 2048  # different rows of a matrix
RARE = "\u0100"  # the letter of byte 0
PRE = {"qwen3": "qwen2", "llama": "llama-bpe"}
FILE_TYPES = {"Q4_K_M": 15, "Q8_0": 7, "BF16": 32}
Type = gguf.GGMLQuantizationType


def more_bits(layer: int, layers: int) -> bool:
    """The layers whose values and last projections get more bits in a `_M` mixture."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def kind(mixture: str, name: str, layers: int) -> Type:
    """The type of one matrix; the output head is the embedding in all these shapes."""
    if mixture != "Q4_K_M":
        return Type[mixture]
    if name.startswith("token_embd"):
        return Type.Q6_K
    _, layer, part, _ = name.split(".")
    wide = part in ("attn_v", "ffn_down") and more_bits(int(layer), layers)
    return Type.Q6_K if wide else Type.Q4_K


def blocks(type: Type, shape: tuple[int, int], generator: torch.Generator) -> np.ndarray:
    """Random normal rows [N, K] as blocks uint8 [N, bytes]."""
    rows = torch.randn(min(shape[0], ROWS), shape[1], generator=generator) * 0.02
    bf16 = type == Type.BF16
    raw = rows.bfloat16().view(torch.uint8) if bf16 else quantize(KINDS[type.value], rows)
    repeated = raw.repeat(-(-shape[0] // ROWS), 1)[: shape[0]]
    return repeated.numpy()


def tensors(config: dict[str, Any], name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name in llama.cpp and shape of every tensor."""
    arch = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[name]
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for key, shape in shapes(config):
        yield names.get_name(key, try_suffixes=(".weight",)), shape


def metadata(writer: gguf.GGUFWriter, config: dict[str, Any], mixture: str) -> None:
    """What a converter says about sizes."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(FILE_TYPES[mixture])


def vocabulary(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The bytes, the end token, and unused names up to the size of the embedding."""
    known = sorted(tokenizer().get_vocab().items(), key=lambda item: item[1])
    names = [name for name, _ in known]
    names.append(RARE * 2)
    names += [f"[unused{i}]" for i in range(config["vocab_size"] - len(names))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE[config["model_type"]])
    writer.add_token_list(names)
    usual, control, unused = (gguf.TokenType[t] for t in ("NORMAL", "CONTROL", "UNUSED"))
    kinds = [usual] * config["vocab_size"]
    kinds[len(known) :] = [unused] * (len(kinds) - len(known))
    kinds[names.index(END)] = control
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{RARE} {RARE}"])  # readers want a list that is not empty
    writer.add_bos_token_id(config["eos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def write(config: dict[str, Any], mixture: str, file: Path) -> None:
    """Write one file."""
    name, generator = config["model_type"], torch.Generator().manual_seed(1)
    writer = gguf.GGUFWriter(file, name)
    metadata(writer, config, mixture)
    vocabulary(writer, config)
    for key, shape in tensors(config, name):
        if len(shape) == 1:
            writer.add_tensor(key, np.ones(shape, np.float32))
            continue
        type = kind(mixture, key, config["num_hidden_layers"])
        writer.add_tensor(key, blocks(type, shape, generator), raw_dtype=type)
    if "rope_scaling" in config:
        writer.add_tensor("rope_freqs.weight", np.ones(config["head_dim"] // 2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("mixture", choices=("Q4_K_M", "Q8_0", "BF16"))
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    write(SHAPES[args.shape], args.mixture, args.file)
