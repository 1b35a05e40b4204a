"""Qwen 3.5: delta nets below the eyes of Qwen 3 VL."""

import transformers as hf

from tests.models.media.case import TEXT, Case, boost
from tests.models.media.qwen2_vl import IDS, TOKENS
from tests.models.media.qwen3_vl import FILES, VISION, processor, video_case

EYES = {key: value for key, value in VISION.items() if key != "deepstack_visual_indexes"}
ROPE = dict(
    rope_type="default",
    rope_theta=1e4,
    partial_rotary_factor=0.25,
    mrope_section=[2, 1, 1],
    mrope_interleaved=True,
)
DELTA = dict(
    head_dim=32,
    rope_parameters=ROPE,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=16,
    linear_value_head_dim=24,
)


def config(cls=hf.Qwen3_5Config, **settings):
    def make():
        text = boost(TEXT, **DELTA, **settings)
        return cls(vision_config=EYES, text_config=text, tie_word_embeddings=False, **IDS)

    return make


def case(kind, make):
    return Case(
        f"{kind}ForConditionalGeneration",
        make,
        TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values"),
        norm=0.0,
        files=FILES,
    )


TYPES = ["full_attention", "linear_attention"] * 2
CASES = {
    "": case("Qwen3_5", config()),
    "own order, biases": case("Qwen3_5", config(layer_types=TYPES, attention_bias=True)),
    "video": video_case("Qwen3_5ForConditionalGeneration", config(), norm=0.0),
}
