"""LFM 2 MoE: dense layers first, with and without the bias of the experts."""

from tests.models.case import Case
from tests.models.cases.lfm2 import TYPES

SPARSE = TYPES | dict(moe_intermediate_size=48, num_experts=4, num_experts_per_tok=2)

CASES = {
    "": Case("Lfm2Moe", SPARSE | dict(num_dense_layers=2)),
    "no bias, not renormalized, tied": Case(
        "Lfm2Moe",
        SPARSE
        | dict(num_dense_layers=1, use_expert_bias=False, norm_topk_prob=False)
        | dict(routed_scaling_factor=1.7, tie_word_embeddings=True),
    ),
}
