"""Qwen 3.5 MoE."""

import transformers as hf

from tests.models.media.qwen3_5 import case, config

EXPERTS = dict(
    num_experts=4,
    num_experts_per_tok=2,
    moe_intermediate_size=48,
    shared_expert_intermediate_size=40,
)

CASES = {"": case("Qwen3_5Moe", config(hf.Qwen3_5MoeConfig, **EXPERTS))}
