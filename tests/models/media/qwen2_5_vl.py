"""Qwen 2.5 VL: windows in the vision tower."""

import transformers as hf

from tests.models.media.case import TEXT, Case
from tests.models.media.qwen2_vl import IDS, ROPE, SIZE, TOKENS, processor, video

VISION = dict(
    depth=3,
    hidden_size=32,
    intermediate_size=48,
    out_hidden_size=64,
    num_heads=4,
    patch_size=14,
    window_size=56,
    fullatt_block_indexes=[1],
)


def config():
    text = TEXT | dict(rope_parameters=ROPE)
    return hf.Qwen2_5_VLConfig(
        vision_config=VISION, text_config=text, tie_word_embeddings=False, **IDS
    )


CASES = {
    "": Case(
        "Qwen2_5_VLForConditionalGeneration",
        config,
        TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values"),
        files=SIZE,
    ),
    "video": video("Qwen2_5_VLForConditionalGeneration", config),
}
