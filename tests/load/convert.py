"""Tiny transformers checkpoints as GGUF files, the way llama.cpp's converter writes them."""

import json
import math
import re
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

Tensors = dict[str, np.ndarray]
F32 = gguf.GGMLQuantizationType.F32

# model_type -> name in llama.cpp, and where a file holds it a name for its parts
NAMES = {
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "glm4": "glm4",
    "glm4_moe": "glm4moe",
    "gpt_oss": "gpt-oss",
    "lfm2": "lfm2",
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "phi": "phi2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "smollm3": "smollm3",
    "starcoder2": "starcoder2",
}
ARCHS = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
ROTATED = ("llama", "smollm3")
PLUS_ONE = ("gemma", "gemma2", "gemma3")


def convert(folder: Path, out: Path, kind: str = "F32", tokenizer=None) -> Path:
    """Write the checkpoint in `folder` as one GGUF file of quantization `kind`."""
    cfg = json.loads((folder / "config.json").read_text())
    name = NAMES[cfg["model_type"]]
    writer = gguf.GGUFWriter(out, name)
    metadata(writer, cfg, name)
    (tokenizer or no_tokenizer)(writer, cfg)
    for tensor, data in tensors(folder, cfg, name).items():
        put(writer, tensor, data, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def no_tokenizer(writer, cfg) -> None:
    writer.add_tokenizer_model("none")


def metadata(writer, cfg: dict, name: str) -> None:
    """What the converter says about a model's sizes."""
    heads = cfg["num_attention_heads"]
    dim = cfg.get("head_dim") or cfg["hidden_size"] // heads
    rope = cfg.get("rope_parameters") or {}
    if "full_attention" in rope:
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    writer.add_context_length(cfg["max_position_embeddings"])
    writer.add_embedding_length(cfg["hidden_size"])
    writer.add_block_count(cfg["num_hidden_layers"])
    writer.add_feed_forward_length(cfg["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads(cfg))
    writer.add_rope_freq_base(rope["rope_theta"])
    for key, add in EPSILONS.items():
        if key in cfg:
            getattr(writer, add)(cfg[key])
    if name == "deepseek2":
        return deepseek(writer, cfg, rope)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_rope_dimension_count(int(dim * (rope.get("partial_rotary_factor") or 1)))
    for key, add in OPTIONAL.items():
        if cfg.get(key) is not None:
            getattr(writer, add)(cfg[key])
    scaling(writer, rope)
    return None


EPSILONS = {
    "rms_norm_eps": "add_layer_norm_rms_eps",
    "norm_eps": "add_layer_norm_rms_eps",
    "layer_norm_eps": "add_layer_norm_eps",
    "norm_epsilon": "add_layer_norm_eps",
}
OPTIONAL = {
    "sliding_window": "add_sliding_window",
    "attn_logit_softcapping": "add_attn_logit_softcapping",
    "final_logit_softcapping": "add_final_logit_softcapping",
    "num_experts": "add_expert_count",
    "num_local_experts": "add_expert_count",
    "n_routed_experts": "add_expert_count",
    "num_experts_per_tok": "add_expert_used_count",
    "moe_intermediate_size": "add_expert_feed_forward_length",
    "n_shared_experts": "add_expert_shared_count",
    "first_k_dense_replace": "add_leading_dense_block_count",
    "routed_scaling_factor": "add_expert_weights_scale",
    "n_group": "add_expert_group_count",
    "topk_group": "add_expert_group_used_count",
    "conv_L_cache": "add_shortconv_l_cache",
}


def kv_heads(cfg: dict) -> int | list[int]:
    count = cfg.get("num_key_value_heads") or cfg["num_attention_heads"]
    kinds = cfg.get("layer_types") or ()
    return [count * (kind != "conv") for kind in kinds] if "conv" in kinds else count


def deepseek(writer, cfg: dict, rope: dict) -> None:
    if cfg.get("q_lora_rank"):
        writer.add_q_lora_rank(cfg["q_lora_rank"])
    turned = cfg["qk_rope_head_dim"]
    writer.add_kv_lora_rank(cfg["kv_lora_rank"])
    writer.add_key_length(cfg["kv_lora_rank"] + turned)
    writer.add_value_length(cfg["kv_lora_rank"])
    writer.add_key_length_mla(cfg["qk_nope_head_dim"] + turned)
    writer.add_value_length_mla(cfg["v_head_dim"])
    writer.add_rope_dimension_count(turned)
    third = cfg["model_type"] == "deepseek_v3"
    writer.add_expert_weights_norm(bool(cfg.get("norm_topk_prob")) and third)
    kinds = gguf.ExpertGatingFuncType
    writer.add_expert_gating_func(kinds.SIGMOID if third else kinds.SOFTMAX)
    for key, add in OPTIONAL.items():
        if cfg.get(key) is not None:
            getattr(writer, add)(cfg[key])
    scaling(writer, rope)
    if rope.get("mscale_all_dim"):
        writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def scaling(writer, rope: dict) -> None:
    """Rope that is stretched by a rule; Llama 3's becomes a tensor."""
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("original_max_position_embeddings") and rope["rope_type"] != "llama3":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope.get("attention_factor"):
        writer.add_rope_scaling_attn_factors(rope["attention_factor"])


def tensors(folder: Path, cfg: dict, name: str) -> Tensors:
    """The tensors by GGUF name, changed as the converter changes them."""
    table = gguf.get_tensor_name_map(ARCHS[name], cfg["num_hidden_layers"])
    out: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        for key, tensor in one_by_one(load_file(file)).items():
            new = table.get_name(key, try_suffixes=(".weight", ".bias"))
            assert new, key
            out |= changed(new, tensor.float().numpy(), cfg, name)
    rope = cfg.get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        out["rope_freqs.weight"] = llama3(cfg, rope)
    for length in ("long", "short"):
        if f"{length}_factor" in rope:
            out[f"rope_factors_{length}.weight"] = np.float32(rope[f"{length}_factor"])
    return out


def one_by_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as one stack [E, N, K] for each of gate, up and down, under names that the package knows."""
    out = {}
    for key, tensor in tensors.items():
        out |= (
            gpt_oss(key, tensor) if "gate_up_proj_bias" in "".join(tensors) else fused(key, tensor)
        )
    stacks = {}
    for key in list(out):
        if found := re.fullmatch(r"(.*)\.\w+\.experts\.(\d+)\.(\w+)\.weight", key):
            part = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}.get(found[3], found[3])
            stack = stacks.setdefault(f"{found[1]}.mlp.experts.{part}.weight", {})
            stack[int(found[2])] = out.pop(key)
    return out | {key: torch.stack([g[i] for i in sorted(g)]) for key, g in stacks.items()}


def fused(key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """transformers 5 keeps gate above up."""
    if not re.search(r"experts\.(gate_up|gate|up|down)_proj$", key):
        return {key.replace("gate.e_score_correction_bias", "e_score_correction.bias"): tensor}
    if "gate_up" not in key:
        return {key + ".weight": tensor}
    gate, up = tensor.chunk(2, 1)
    names = [key.replace("gate_up", part) + ".weight" for part in ("gate", "up")]
    return dict(zip(names, (gate, up), strict=True))


def gpt_oss(key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """GPT-OSS lets gate and up alternate, and keeps its stacks as [E, K, N]."""
    if ".experts." not in key:
        return {key: tensor}
    suffix = "bias" if key.endswith("_bias") else "weight"
    key, tensor = key.removesuffix("_bias"), tensor if suffix == "bias" else tensor.transpose(1, 2)
    if "gate_up" not in key:
        return {f"{key}.{suffix}": tensor}
    parts = {"gate": tensor[:, 0::2], "up": tensor[:, 1::2]}
    return {f"{key.replace('gate_up', part)}.{suffix}": half for part, half in parts.items()}


def changed(new: str, x: np.ndarray, cfg: dict, name: str) -> Tensors:
    """llama.cpp's changes to values."""
    new = new + ".weight" if new.endswith("attn_sinks") else new
    heads = cfg["num_attention_heads"]
    if name in ROTATED and (found := re.search(r"\.attn_([qk])\.", new)):
        count = heads if found[1] == "q" else cfg["num_key_value_heads"]
        x = x.reshape(count, 2, len(x) // count // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    if name in PLUS_ONE and new.endswith("norm.weight"):
        x = x + 1
    if ".shortconv.conv." in new:
        x = x[:, 0]
    if name == "deepseek2" and ".attn_kv_b." in new:
        parts = x.reshape(heads, -1, x.shape[-1])
        k, v = np.split(parts, [cfg["qk_nope_head_dim"]], axis=1)
        key = new.replace("attn_kv_b", "attn_{}_b")
        return {key.format("k"): k.swapaxes(1, 2), key.format("v"): v}
    return {new: x}


def llama3(cfg: dict, rope: dict) -> np.ndarray:
    """Divisors of the frequencies."""
    dim = cfg.get("head_dim") or cfg["hidden_size"] // cfg["num_attention_heads"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    length, out = rope["original_max_position_embeddings"], []
    for i in range(0, dim, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        smooth = min(max((length / wave - low) / (high - low), 0), 1)
        out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.float32(out)


def put(writer, name: str, x: np.ndarray, kind: gguf.GGMLQuantizationType) -> None:
    """Vectors, routers and what a block does not divide stay float32."""
    small = x.ndim == 1 or re.search("ffn_gate_inp|shortconv.conv|exps.bias", name)
    if small or kind == F32 or x.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        writer.add_tensor(name, np.ascontiguousarray(x, np.float32))
    else:
        writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(x), kind), raw_dtype=kind)


def rounded(key: str, tensor: torch.Tensor, kind: str) -> torch.Tensor:
    """A checkpoint's tensor after a trip through a quantization, where `put` would make one."""
    one, stays = (
        gguf.GGMLQuantizationType[kind],
        "norm" in key or re.search(r"(gate|router)\.weight", key),
    )
    if tensor.dim() == 1 or stays or tensor.shape[-1] % gguf.GGML_QUANT_SIZES[one][0]:
        return tensor
    raw = gguf.quants.quantize(np.ascontiguousarray(tensor.float().numpy()), one)
    return torch.from_numpy(gguf.quants.dequantize(raw, one).astype(np.float32))
