"""Qwen 3.5 MoE: Qwen 3.5 on a text model with experts, one of which sees every token."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mistralrs.models import qwen3_5, qwen3_vl_moe


class Qwen3_5Moe(qwen3_vl_moe.Qwen3VLMoe):
    text = "qwen3_5_text"
    defaults = qwen3_5.Qwen3_5VL.defaults
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "qwen3_5_moe_text": {
            **qwen3_5.TEXT, "hidden_size": 2048, "num_hidden_layers": 40, "num_key_value_heads": 2,
            "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
        }
    }  # fmt: skip
