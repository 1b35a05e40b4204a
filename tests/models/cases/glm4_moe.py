"""GLM 4.5 to 4.7: attention with and without norms, experts of DeepSeek V3."""

from tests.models.case import Case

EXPERTS = dict(
    moe_intermediate_size=32,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    first_k_dense_replace=1,
    n_group=1,
    topk_group=1,
    routed_scaling_factor=2.5,
)

CASES = {
    "": Case("Glm4Moe", dict(head_dim=32, attention_bias=True, use_qk_norm=True) | EXPERTS),
    "no norms, groups, tied": Case(
        "Glm4Moe",
        EXPERTS
        | dict(use_qk_norm=False, n_group=4, topk_group=2, tie_word_embeddings=True)
        | dict(num_key_value_heads=1, first_k_dense_replace=2, norm_topk_prob=False),
    ),
}
