"""DeepSeek V3: sigmoid scores with a correction bias, experts in groups."""

from tests.models.case import YARN, Case, rope
from tests.models.cases.deepseek_v2 import EXPERTS, MLA

V3 = (
    MLA
    | EXPERTS
    | dict(n_shared_experts=1, n_group=4, topk_group=2, routed_scaling_factor=2.5)
    | dict(norm_topk_prob=True, rope_interleave=True)
)

CASES = {
    "": Case("DeepseekV3", V3),
    "one group, full queries, not normalized": Case(
        "DeepseekV3",
        V3 | dict(q_lora_rank=None, n_group=1, topk_group=1, norm_topk_prob=False),
    ),
    "yarn, wide values": Case(
        "DeepseekV3",
        V3 | dict(v_head_dim=40) | rope("yarn", mscale=1.0, mscale_all_dim=1.0, **YARN),
    ),
    "rope in halves, biases, tied": Case(
        "DeepseekV3",
        V3 | dict(rope_interleave=False, attention_bias=True, tie_word_embeddings=True),
    ),
}
