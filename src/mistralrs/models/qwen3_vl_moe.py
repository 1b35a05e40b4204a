"""Qwen 3 VL MoE: Qwen 3 VL on a text model with experts."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mistralrs.models import qwen3_vl
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.decoder import Settings


class Qwen3VLMoe(qwen3_vl.Qwen3VL):
    text = "qwen3_moe"
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "qwen3_vl_moe_text": dict(
            vocab_size=151936, hidden_size=2048, intermediate_size=5632, num_hidden_layers=24, num_attention_heads=16,
            num_key_value_heads=16, hidden_act="silu", max_position_embeddings=128000, rms_norm_eps=1e-6,
            rope_theta=5e5, tie_word_embeddings=True, moe_intermediate_size=1408,
            num_experts_per_tok=4, norm_topk_prob=True,
        )
    }  # fmt: skip

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = super().checkpoint(cfg, tensors)
        rows = {  # of one expert; as on the hub the two are transposed
            ".experts.gate_up_proj": 2 * cfg.text.moe_intermediate_size,
            ".experts.down_proj": cfg.text.hidden_size,
        }
        for name, lazy in named.items():
            for end, count in rows.items():
                if name.endswith(end) and lazy.shape[1] != count:
                    named[name] = lazy.transpose(1, 2).map(Tensor.contiguous)
        return named
