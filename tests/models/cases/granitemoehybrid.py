"""Granite 4: dense and with experts, Mamba layers of one and several groups, with and without rope."""

from tests.models.case import Case

MULTIPLIERS = dict(
    embedding_multiplier=3.0, residual_multiplier=0.5, attention_multiplier=0.3, logits_scaling=2.0
)
MAMBA = dict(
    layer_types=["linear_attention", "full_attention", "linear_attention", "linear_attention"],
    mamba_n_heads=8, mamba_d_head=16, mamba_d_state=24, mamba_n_groups=1, mamba_chunk_size=16,
    shared_intermediate_size=80,
)  # fmt: skip
DENSE = dict(num_local_experts=0)
SPARSE = dict(num_local_experts=4, num_experts_per_tok=2)

CASES = {
    "dense, nope": Case("GraniteMoeHybrid", MAMBA | MULTIPLIERS | DENSE),
    "dense, only attention, rope": Case(
        "GraniteMoeHybrid",
        MULTIPLIERS
        | DENSE
        | dict(
            layer_types=["full_attention"] * 4,
            position_embedding_type="rope",
            shared_intermediate_size=96,
            attention_bias=True,
        ),
    ),
    "experts, rope, tied": Case(
        "GraniteMoeHybrid",
        MAMBA
        | MULTIPLIERS
        | SPARSE
        | dict(position_embedding_type="rope", tie_word_embeddings=True),
    ),
    "experts, groups, biases": Case(
        "GraniteMoeHybrid",
        MAMBA
        | SPARSE
        | dict(attention_multiplier=0.25)
        | dict(mamba_n_groups=2, mamba_proj_bias=True, mamba_conv_bias=False, mamba_d_conv=3),
    ),
}
