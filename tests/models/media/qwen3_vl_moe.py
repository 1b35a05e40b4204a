"""Qwen 3 VL MoE."""

import transformers as hf

from tests.models.media.case import TEXT
from tests.models.media.qwen2_vl import IDS
from tests.models.media.qwen3_vl import ROPE, VISION, case, video_case

EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)


def config():
    text = TEXT | EXPERTS | dict(rope_parameters=ROPE, head_dim=16)
    return hf.Qwen3VLMoeConfig(
        vision_config=VISION, text_config=text, tie_word_embeddings=False, **IDS
    )


CASES = {
    "": case("Qwen3VLMoeForConditionalGeneration", config),
    "video": video_case("Qwen3VLMoeForConditionalGeneration", config),
}
