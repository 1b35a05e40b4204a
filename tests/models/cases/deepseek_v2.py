"""DeepSeek V2: latent attention, greedy and group-limited routing."""

from tests.models.case import YARN, Case, rope

MLA = dict(
    num_key_value_heads=4,
    q_lora_rank=24,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
)
EXPERTS = dict(
    moe_intermediate_size=32,
    n_routed_experts=8,
    n_shared_experts=2,
    num_experts_per_tok=3,
    first_k_dense_replace=1,
    moe_layer_freq=1,
)
LITE = MLA | EXPERTS | dict(q_lora_rank=None, topk_method="greedy", n_group=1, topk_group=1)
FULL = (
    MLA
    | EXPERTS
    | dict(
        topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=2.5
    )
)

CASES = {
    "lite": Case("DeepseekV2", LITE),
    "lite, yarn": Case(
        "DeepseekV2", LITE | rope("yarn", mscale=0.707, mscale_all_dim=0.707, **YARN)
    ),
    "groups": Case("DeepseekV2", FULL),
    "groups, wide values, biases": Case(
        "DeepseekV2", FULL | dict(v_head_dim=40, attention_bias=True, num_attention_heads=2, num_key_value_heads=2)
    ),
    "narrow values, unequal yarn, tied, dense": Case(
        "DeepseekV2",
        FULL
        | dict(v_head_dim=8, tie_word_embeddings=True, first_k_dense_replace=4)
        | rope("yarn", mscale=1.0, mscale_all_dim=0.5, **YARN),
    ),
}
