"""Qwen 3 with experts in all layers or some."""

from tests.models.case import YARN, Case, rope

EXPERTS = dict(num_experts=8, num_experts_per_tok=3, moe_intermediate_size=32, head_dim=32)

CASES = {
    "": Case("Qwen3Moe", dict(norm_topk_prob=True) | EXPERTS),
    "not renormalized": Case("Qwen3Moe", dict(norm_topk_prob=False) | EXPERTS),
    "dense layers between": Case("Qwen3Moe", dict(decoder_sparse_step=2) | EXPERTS),
    "dense layers first, biases, yarn": Case(
        "Qwen3Moe",
        dict(mlp_only_layers=[0, 1], attention_bias=True) | EXPERTS | rope("yarn", **YARN),
    ),
    "window, tied": Case(
        "Qwen3Moe",
        dict(use_sliding_window=True, sliding_window=6, tie_word_embeddings=True) | EXPERTS,
    ),
}
