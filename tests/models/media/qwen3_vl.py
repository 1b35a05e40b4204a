"""Qwen 3 VL: deepstack, positions whose axes take turns, blocks of the tower that are out of order."""

import transformers as hf

from tests.models.media.case import TEXT, Case
from tests.models.media.qwen2_vl import IDS, TOKENS, Processor

VISION = dict(
    depth=4,
    hidden_size=32,
    intermediate_size=48,
    out_hidden_size=64,
    num_heads=4,
    patch_size=14,
    num_position_embeddings=25,
    deepstack_visual_indexes=[0, 2],
)
ROPE = dict(rope_type="default", rope_theta=1e4, mrope_section=[4, 2, 2], mrope_interleaved=True)
FILES = dict(
    size=dict(shortest_edge=56 * 56, longest_edge=28 * 28 * 12),
    patch_size=14,
    image_mean=[0.5] * 3,
    image_std=[0.5] * 3,
)


def config():
    text = TEXT | dict(rope_parameters=ROPE, head_dim=16)
    return hf.Qwen3VLConfig(
        vision_config=VISION, text_config=text, tie_word_embeddings=False, **IDS
    )


def processor(tokenizer):
    return Processor(tokenizer, hf.Qwen2VLImageProcessorPil(**FILES))


def case(cls, config):
    return Case(
        cls,
        config,
        TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values"),
        files=FILES,
    )


CASES = {"": case("Qwen3VLForConditionalGeneration", config)}
