"""GGUF tensors under Hugging Face's names, with llama.cpp's changes to their values undone.

Names: gguf-py's tensor_mapping and llama.cpp's convert_hf_to_gguf describe the way there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from mistralrs.load.gguf import Gguf
from mistralrs.load.gguf_config import Meta
from mistralrs.nn.checkpoint import Lazy, Tensors

GLOBAL = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
}
EXPERTS = {
    f"ffn_{one}_exps{end}": f"mlp.experts.{one}_{new}"
    for one in ("gate", "up", "down")
    for end, new in ((".weight", "proj"), (".bias", "bias"))
}
SHARED = {f"ffn_{one}_shexp": f"mlp.shared_experts.{one}_proj" for one in ("gate", "up", "down")}
AROUND = {  # norms on both sides of attention and MLP
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
}
SIGMOID = {"exp_probs_b.bias": "mlp.gate.e_score_correction_bias"}
MAMBA = {
    "ssm_in": "mamba.in_proj",
    "ssm_conv1d": "mamba.conv1d",
    "ssm_a": "mamba.A_log",
    "ssm_d": "mamba.D",
    "ssm_dt.bias": "mamba.dt_bias",
    "ssm_norm": "mamba.norm",
    "ssm_out": "mamba.out_proj",
}
# What an architecture calls otherwise. A name that ends in .weight or .bias stands for that tensor alone.
OWN: dict[str, dict[str, str]] = {
    "deepseek2": LATENT | SHARED | SIGMOID,
    "gemma2": AROUND,
    "gemma3": AROUND,
    "glm4": {
        "post_attention_norm": "post_self_attn_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
        "ffn_up": "mlp.gate_up_proj",
    },
    "glm4moe": {"post_attention_norm": "post_attention_layernorm"} | SHARED | SIGMOID,
    "gpt-oss": {
        "attn_sinks.weight": "self_attn.sinks",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_gate_inp": "mlp.router",
        **{
            f"ffn_{one}_exps.weight": f"mlp.experts.{one}_proj.weight"
            for one in ("gate", "up", "down")
        },
    },
    "granitehybrid": {
        "ffn_gate_inp": "block_sparse_moe.router",
        **{f"ffn_{one}": f"shared_mlp.{one}_proj" for one in ("gate", "up", "down")},
        **{f"ffn_{one}_shexp": f"shared_mlp.{one}_proj" for one in ("gate", "up", "down")},
        **{
            f"ffn_{one}_exps.weight": f"block_sparse_moe.experts.{one}_proj"
            for one in ("gate", "up", "down")
        },
        **MAMBA,
    },
    "lfm2": {
        "attn_norm": "operator_norm",
        "ffn_norm": "ffn_norm",
        "ffn_gate": "feed_forward.gate_proj",
        "ffn_up": "feed_forward.up_proj",
        "ffn_down": "feed_forward.down_proj",
        "shortconv.conv": "conv.conv",
        "shortconv.in_proj": "conv.in_proj",
        "shortconv.out_proj": "conv.out_proj",
        "token_embd_norm": "model.norm",
    },
    "phi2": {
        "output_norm": "model.final_layernorm",
        "attn_output": "self_attn.dense",
        "ffn_up": "mlp.fc1",
        "ffn_down": "mlp.fc2",
    },
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
    "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
}


# Tensors that gguf_config.py reads.
SETTINGS = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}


def tensors_of(file: Gguf) -> Tensors:
    """A file's tensors by Hugging Face name; names without a rule stay."""
    meta = Meta(file)
    table = GLOBAL | LAYER | EXPERTS | OWN.get(meta.arch, {})
    out: Tensors = {}
    weights = {name: lazy for name, lazy in file.tensors.items() if name not in SETTINGS}
    for name, lazy in REBUILT.get(meta.arch, same)(weights, meta).items():
        for pattern, undo in VALUES.get(meta.arch, {}).items():
            if re.search(pattern, name):
                lazy = undo(lazy, meta)
        out[renamed(name, table)] = lazy
    return out


def renamed(name: str, table: Mapping[str, str]) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight."""
    found = re.fullmatch(r"blk\.(\d+)\.(.+)", name)
    prefix, rest = (f"model.layers.{found[1]}.", found[2]) if found else ("", name)
    if expert := re.fullmatch(r"ffn_(gate|up|down)\.(\d+)\.weight", rest):  # before stacks
        return f"{prefix}mlp.experts.{expert[2]}.{expert[1]}_proj.weight"
    if rest in table:
        return prefix + table[rest]
    stem, dot, leaf = rest.rpartition(".")
    new = table.get(stem)
    return name if new is None else f"{prefix}{new}{dot}{leaf}"


# --- values ---------------------------------------------------------------------------------------


def rotate_halves(lazy: Lazy, heads: int) -> Lazy:
    """Rows of q or k in pairs of neighbours, which ggml rotates, back to pairs of halves."""

    def rows(t: Tensor) -> Tensor:
        pairs = t.reshape(heads, t.shape[0] // heads // 2, 2, -1)
        return pairs.transpose(1, 2).reshape(t.shape)

    return lazy.rows(rows) if len(lazy.shape) > 1 else lazy.map(rows)


def queries(lazy: Lazy, meta: Meta) -> Lazy:
    """Query rows."""
    return rotate_halves(lazy, meta.need("attention.head_count"))


def keys(lazy: Lazy, meta: Meta) -> Lazy:
    """Key rows."""
    return rotate_halves(
        lazy, meta.get("attention.head_count_kv") or meta.need("attention.head_count")
    )


def less_one(lazy: Lazy, meta: Meta) -> Lazy:
    """Norm weights that llama.cpp keeps with their 1 added."""
    return lazy.map(lambda t: t - 1)


def kernel(lazy: Lazy, meta: Meta) -> Lazy:
    """Convolution weights [D, K] -> [D, 1, K]."""
    return lazy.reshape(lazy.shape[0], 1, lazy.shape[-1])


def flat(lazy: Lazy, meta: Meta) -> Lazy:
    """[H, 1] or [G, D] -> [H] or [G * D]."""
    return lazy.map(Tensor.flatten, (int(torch.Size(lazy.shape).numel()),))


def log_decay(lazy: Lazy, meta: Meta) -> Lazy:
    """-exp(A) [H, 1] -> A [H]."""
    return flat(lazy.map(lambda t: (-t).log()), meta)


ROTATED = {r"\.attn_q\.(weight|bias)$": queries, r"\.attn_k\.(weight|bias)$": keys}
NORMS = {r"norm\.weight$": less_one}
# By architecture: expression found in a GGUF name -> what undoes llama.cpp's change.
VALUES: Mapping[str, Mapping[str, Callable[[Lazy, Meta], Lazy]]] = {
    "gemma": NORMS,
    "gemma2": NORMS,
    "gemma3": NORMS,
    "granitehybrid": ROTATED
    | {
        r"\.ssm_conv1d\.weight$": kernel,
        r"\.ssm_(d|norm\.weight)$": flat,
        r"\.ssm_a$": log_decay,
    },
    "lfm2": {r"\.shortconv\.conv\.weight$": kernel},
    "llama": ROTATED,
    "smollm3": ROTATED,
}


# --- tensors made of others -----------------------------------------------------------------------


def same(tensors: Tensors, meta: Meta) -> Tensors:
    """Nothing to do."""
    return tensors


def latent(tensors: Tensors, meta: Meta) -> Tensors:
    """DeepSeek's kv_b from its two parts, of which llama.cpp turns the keys' around."""
    out = dict(tensors)
    for name in [name for name in tensors if name.endswith("attn_k_b.weight")]:
        keys, values = out.pop(name), out.pop(name.replace("attn_k_b", "attn_v_b"))
        heads, rank, dim = keys.shape
        shape = (heads * (dim + values.shape[1]), rank)
        joined = Lazy(shape, torch.float32, partial(_interleaved, keys, values, shape))
        out[name.replace("attn_k_b", "attn_kv_b")] = joined
    return out


def _interleaved(keys: Lazy, values: Lazy, shape: tuple[int, int]) -> Tensor:
    both = [keys.load().float().transpose(1, 2), values.load().float()]
    return torch.cat(both, 1).reshape(shape)


def parted(tensors: Tensors, meta: Meta) -> Tensors:
    """Phi 2's fused q, k, v of the first conversions as three."""
    out: Tensors = {}
    for name, lazy in tensors.items():
        if ".attn_qkv." not in name:
            out[name] = lazy
            continue
        for letter, part in zip("qkv", lazy.split([lazy.shape[0] // 3] * 3), strict=True):
            out[name.replace("attn_qkv", f"attn_{letter}")] = part
    return out


REBUILT: Mapping[str, Callable[[Tensors, Meta], Tensors]] = {"deepseek2": latent, "phi2": parted}
