"""GGUF metadata as the config.json that the same model has on the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mistralrs.api.errors import ConfigError, NotSupportedError
from mistralrs.load.gguf import Gguf

Config = dict[str, Any]


@dataclass(frozen=True)
class Meta:
    """A file's metadata, keys without the architecture's name."""

    file: Gguf

    @property
    def arch(self) -> str:
        """The architecture in llama.cpp's naming."""
        return str(self.file.metadata.get("general.architecture"))

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default; of a per-layer array the first element that is not 0."""
        value = self.file.metadata.get(f"{self.arch}.{key}", default)
        if isinstance(value, np.ndarray):
            return next((item for item in value.tolist() if item), 0)
        return value

    def need(self, key: str) -> Any:
        """A value; ConfigError when it is missing."""
        value = self.get(key)
        if value is None:
            raise ConfigError(
                f"{self.file.path} lacks the metadata '{self.arch}.{key}': it is no complete language "
                "model; use another conversion of it"
            )
        return value

    def layers(self, key: str) -> list[Any]:
        """A value for each layer."""
        count, value = self.need("block_count"), self.file.metadata.get(f"{self.arch}.{key}")
        return value.tolist() if isinstance(value, np.ndarray) else [value] * count

    def has(self, tensor: str) -> bool:
        """Whether some layer has the tensor `blk.N.<tensor>`."""
        return any(
            name.startswith("blk.") and name.endswith(f".{tensor}") for name in self.file.tensors
        )

    @property
    def head_dim(self) -> int:
        """Features of a head."""
        found = self.get("attention.key_length")
        return int(found or self.need("embedding_length") // self.need("attention.head_count"))


def config_of(file: Gguf) -> Config:
    """The config.json of a GGUF file; raises NotSupportedError for an architecture without a table."""
    meta = Meta(file)
    if meta.arch not in ARCHITECTURES:
        raise NotSupportedError(
            f"{file.path} has architecture '{meta.arch}'; GGUF files load of {', '.join(ARCHITECTURES)}"
        )
    try:
        found = common(meta) | ARCHITECTURES[meta.arch](meta)
    except (TypeError, ArithmeticError, AttributeError) as error:  # a value of another kind, or 0
        raise ConfigError(
            f"the metadata of {file.path} makes no sense ({error}); use another conversion of it"
        ) from error
    return {key: value for key, value in found.items() if value is not None}


def common(meta: Meta) -> Config:
    """What most architectures share."""
    embedding = meta.file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ConfigError(
            f"{meta.file.path} has no tensor 'token_embd.weight': it is no text model"
        )
    rotated = meta.get("rope.dimension_count") or meta.head_dim
    return {
        "vocab_size": embedding.shape[0],
        "hidden_size": meta.need("embedding_length"),
        "num_hidden_layers": meta.need("block_count") - meta.get("nextn_predict_layers", 0),
        "intermediate_size": meta.get("feed_forward_length"),
        "num_attention_heads": meta.need("attention.head_count"),
        "num_key_value_heads": meta.get("attention.head_count_kv"),
        "head_dim": meta.head_dim,
        "max_position_embeddings": meta.need("context_length"),
        "rms_norm_eps": meta.get("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in meta.file.tensors,
        "partial_rotary_factor": rotated / meta.head_dim if rotated != meta.head_dim else None,
        "rope_theta": meta.get("rope.freq_base", 10000.0),
        "rope_scaling": rope_scaling(meta),
        "attention_bias": meta.has("attn_q.bias"),
    }


def rope_scaling(meta: Meta) -> Config | None:
    """Rope settings in config.json's spelling."""
    tensors = meta.file.tensors
    if "rope_freqs.weight" in tensors:
        return {"rope_type": "factors", "factors": tensors["rope_freqs.weight"].load().tolist()}
    trained = meta.get("rope.scaling.original_context_length")
    if "rope_factors_long.weight" in tensors:
        long, short = (tensors[f"rope_factors_{n}.weight"].load() for n in ("long", "short"))
        lists = {"long_factor": long.tolist(), "short_factor": short.tolist()}
        more = {"attention_factor": meta.get("rope.scaling.attn_factor")}
        kept = {key: value for key, value in more.items() if value is not None}
        return {
            "rope_type": "longrope",
            "original_max_position_embeddings": trained,
            **lists,
            **kept,
        }
    kind, factor = meta.get("rope.scaling.type"), meta.get("rope.scaling.factor")
    if not factor or kind not in ("linear", "yarn"):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    return yarn(meta, factor, trained)


def yarn(meta: Meta, factor: float, trained: int | None) -> Config:
    """YaRN's settings; the logarithmic multiplier is a tenth of DeepSeek's `mscale_all_dim`."""
    multiplier = meta.get("rope.scaling.yarn_log_multiplier")
    mscale = None if not multiplier else round(multiplier * 10, 6)
    found = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": trained,
        "beta_fast": meta.get("rope.scaling.yarn_beta_fast"),
        "beta_slow": meta.get("rope.scaling.yarn_beta_slow"),
        "mscale": mscale,
        "mscale_all_dim": mscale,
    }
    return {key: value for key, value in found.items() if value is not None}


def llama(meta: Meta) -> Config:
    """Llama, Mistral and Mixtral share a name."""
    if meta.get("expert_count"):
        counts = {"num_local_experts": meta.get("expert_count")}
        return {
            "model_type": "mixtral",
            "num_experts_per_tok": meta.need("expert_used_count"),
        } | counts
    window = meta.get("attention.sliding_window")
    if window:
        return {"model_type": "mistral", "sliding_window": window}
    return {"model_type": "llama", "mlp_bias": meta.has("ffn_gate.bias")}


def qwen2(meta: Meta) -> Config:
    """Qwen 2."""
    return {"model_type": "qwen2", "use_sliding_window": False}


def qwen3(meta: Meta) -> Config:
    """Qwen 3."""
    return {"model_type": "qwen3", "use_sliding_window": False}


def qwen3_moe(meta: Meta) -> Config:
    """Qwen 3 with experts in every layer."""
    return {"model_type": "qwen3_moe", "norm_topk_prob": True, "decoder_sparse_step": 1} | experts(
        meta
    )


def experts(meta: Meta) -> Config:
    """Counts of a mixture of experts."""
    return {
        "num_experts": meta.need("expert_count"),
        "num_experts_per_tok": meta.need("expert_used_count"),
        "moe_intermediate_size": meta.need("expert_feed_forward_length"),
        "use_sliding_window": False,
    }


def phi2(meta: Meta) -> Config:
    """Phi 1, 1.5 and 2."""
    return {"model_type": "phi", "layer_norm_eps": meta.need("attention.layer_norm_epsilon")}


def phi3(meta: Meta) -> Config:
    """Phi 3, 3.5 and 4."""
    trained = meta.get("rope.scaling.original_context_length")
    return {
        "model_type": "phi3",
        "sliding_window": meta.get("attention.sliding_window") or None,
        "original_max_position_embeddings": trained,
    }


def gemma(meta: Meta) -> Config:
    """Gemma."""
    return {"model_type": "gemma"}


def gemma2(meta: Meta) -> Config:
    """Gemma 2; only its 27B scales attention by another width than the head's."""
    return {
        "model_type": "gemma2",
        "sliding_window": meta.get("attention.sliding_window"),
        "attn_logit_softcapping": meta.get("attn_logit_softcapping"),
        "final_logit_softcapping": meta.get("final_logit_softcapping"),
        "query_pre_attn_scalar": attention_width(meta, 46),
    }


def gemma3(meta: Meta) -> Config:
    """Gemma 3's language model."""
    every = meta.get("attention.sliding_window_pattern", 6)
    return {
        "model_type": "gemma3_text",
        "sliding_window": meta.get("attention.sliding_window"),
        "sliding_window_pattern": every if type(every) is int else 6,
        "final_logit_softcapping": meta.get("final_logit_softcapping"),
        "query_pre_attn_scalar": attention_width(meta, 62),
        "rope_local_base_freq": meta.get("rope.freq_base_swa", 10000.0),
    }


def attention_width(meta: Meta, layers: int) -> int:
    """The number whose root divides attention scores: the head's width, but hidden / heads in the 27B."""
    if meta.need("block_count") == layers:
        return int(meta.need("embedding_length") // meta.need("attention.head_count"))
    return meta.head_dim


def starcoder2(meta: Meta) -> Config:
    """StarCoder 2."""
    return {
        "model_type": "starcoder2",
        "norm_epsilon": meta.need("attention.layer_norm_epsilon"),
        "sliding_window": meta.get("attention.sliding_window"),
        "use_bias": meta.has("attn_q.bias"),
    }


def glm4(meta: Meta) -> Config:
    """GLM 4."""
    return {"model_type": "glm4"}


def smollm3(meta: Meta) -> Config:
    """SmolLM 3; every fourth layer has no rope."""
    layers = range(meta.need("block_count"))
    return {"model_type": "smollm3", "no_rope_layers": [int((i + 1) % 4 != 0) for i in layers]}


def granite_hybrid(meta: Meta) -> Config:
    """Granite 4: attention where a layer has key-value heads."""
    inner, hidden = meta.get("ssm.inner_size", 0), meta.need("embedding_length")
    kv = meta.layers("attention.head_count_kv")
    return {
        "model_type": "granitemoehybrid",
        "layer_types": ["attention" if count else "mamba" for count in kv],
        "position_embedding_type": "nope" if 0 in kv else "rope",
        "num_local_experts": meta.get("expert_count", 0),
        "num_experts_per_tok": meta.get("expert_used_count"),
        "shared_intermediate_size": meta.get("expert_shared_feed_forward_length")
        or meta.get("feed_forward_length"),
        "embedding_multiplier": meta.get("embedding_scale"),
        "residual_multiplier": meta.get("residual_scale"),
        "attention_multiplier": meta.get("attention.scale"),
        "logits_scaling": meta.get("logit_scale"),
        "mamba_n_heads": meta.get("ssm.time_step_rank"),
        "mamba_n_groups": meta.get("ssm.group_count"),
        "mamba_d_state": meta.get("ssm.state_size"),
        "mamba_d_conv": meta.get("ssm.conv_kernel"),
        "mamba_expand": inner / hidden if inner % hidden else inner // hidden,
        "mamba_conv_bias": meta.has("ssm_conv1d.bias"),
    }


def lfm2(meta: Meta) -> Config:
    """LFM 2: attention where a layer has key-value heads."""
    kv = meta.layers("attention.head_count_kv")
    return {
        "model_type": "lfm2",
        "layer_types": ["full_attention" if count else "conv" for count in kv],
        "norm_eps": meta.need("attention.layer_norm_rms_epsilon"),
        "conv_L_cache": meta.need("shortconv.l_cache"),
        "block_auto_adjust_ff_dim": False,
    }


def deepseek2(meta: Meta) -> Config:
    """DeepSeek 2 and 3: the scoring function tells them apart."""
    rope = meta.need("rope.dimension_count")
    key = meta.get("attention.key_length_mla") or meta.need("attention.key_length")
    sigmoid = meta.get("expert_gating_func", 1) == 2
    groups = meta.get("expert_group_count")
    return {
        "model_type": "deepseek_v3" if sigmoid else "deepseek_v2",
        "head_dim": None,
        "num_key_value_heads": meta.need("attention.head_count"),
        "partial_rotary_factor": None,
        "q_lora_rank": meta.get("attention.q_lora_rank"),
        "kv_lora_rank": meta.need("attention.kv_lora_rank"),
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": key - rope,
        "v_head_dim": meta.get("attention.value_length_mla") or meta.need("attention.value_length"),
        "first_k_dense_replace": meta.get("leading_dense_block_count", 0),
        "n_routed_experts": meta.get("expert_count"),
        "n_shared_experts": meta.get("expert_shared_count"),
        "num_experts_per_tok": meta.get("expert_used_count"),
        "moe_intermediate_size": meta.get("expert_feed_forward_length"),
        "routed_scaling_factor": meta.get("expert_weights_scale") or 1.0,
        "norm_topk_prob": bool(meta.get("expert_weights_norm", False)),
        "n_group": groups or 1,
        "topk_group": meta.get("expert_group_used_count", 1),
        "topk_method": "group_limited_greedy" if (groups or 1) > 1 else "greedy",
    }


def gpt_oss(meta: Meta) -> Config:
    """GPT-OSS: windows on every other layer, beginning with the first."""
    layers, rope = range(meta.need("block_count")), rope_scaling(meta)
    kinds = ("sliding_attention", "full_attention")
    return {
        "model_type": "gpt_oss",
        "sliding_window": meta.need("attention.sliding_window"),
        "layer_types": [kinds[i % 2] for i in layers],
        "num_local_experts": meta.need("expert_count"),
        "num_experts_per_tok": meta.need("expert_used_count"),
        "intermediate_size": meta.get("expert_feed_forward_length")
        or meta.get("feed_forward_length"),
        "rope_scaling": rope | {"truncate": False} if rope else None,
    }


def glm4_moe(meta: Meta) -> Config:
    """GLM 4.5 to 4.7."""
    return {
        "model_type": "glm4_moe",
        "use_qk_norm": meta.has("attn_q_norm.weight"),
        "first_k_dense_replace": meta.get("leading_dense_block_count", 0),
        "n_routed_experts": meta.need("expert_count"),
        "n_shared_experts": meta.get("expert_shared_count"),
        "num_experts_per_tok": meta.need("expert_used_count"),
        "moe_intermediate_size": meta.need("expert_feed_forward_length"),
        "routed_scaling_factor": meta.get("expert_weights_scale") or 1.0,
        "norm_topk_prob": bool(meta.get("expert_weights_norm", True)),
        "n_group": meta.get("expert_group_count", 1),
        "topk_group": meta.get("expert_group_used_count", 1),
    }


ARCHITECTURES: dict[str, Callable[[Meta], Config]] = {
    "deepseek2": deepseek2,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "glm4": glm4,
    "glm4moe": glm4_moe,
    "gpt-oss": gpt_oss,
    "granitehybrid": granite_hybrid,
    "lfm2": lfm2,
    "llama": llama,
    "phi2": phi2,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3moe": qwen3_moe,
    "smollm3": smollm3,
    "starcoder2": starcoder2,
}
