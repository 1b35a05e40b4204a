"""Qwen 3 Next: delta nets and gated attention, dense layers among experts."""

from tests.models.case import Case

DELTA = dict(
    head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
    linear_value_head_dim=24, moe_intermediate_size=48, shared_expert_intermediate_size=40,
    num_experts=4, num_experts_per_tok=2,
)  # fmt: skip

CASES = {
    "": Case("Qwen3Next", DELTA, norm=0.0),
    "equal heads, 3 taps, one kv head, tied": Case(
        "Qwen3Next",
        DELTA
        | dict(linear_num_key_heads=4, linear_conv_kernel_dim=3, num_key_value_heads=1)
        | dict(tie_word_embeddings=True, norm_topk_prob=False),
        norm=0.0,
    ),
    "dense layers, biases, own order": Case(
        "Qwen3Next",
        DELTA
        | dict(attention_bias=True, decoder_sparse_step=2, mlp_only_layers=[3])
        | dict(layer_types=["full_attention", "linear_attention"] * 2),
        norm=0.0,
    ),
}
