"""Qwen 3 VL: deepstack, positions whose axes take turns, blocks of the tower that are out of order."""

import torch
import transformers as hf
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from tests.models.media.case import TEXT, Case
from tests.models.media.qwen2_vl import IDS, TOKENS, Films, Processor, video

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


FILM = dict(
    size=dict(shortest_edge=28 * 28 * 12, longest_edge=28 * 28 * 60),
    max_video_tokens=9,
    patch_size=14,
)


class Watched(Films):
    """Their text has the time of each picture.

    From version 5.20 or so transformers keeps the tokens around the marker as well; before it did not, as
    the model was trained, and as other engines do.
    """

    def __init__(self, tokenizer):
        super().__init__(tokenizer, "qwen3_vl", hf.Siglip2ImageProcessorPil)

    def size(self, size, frames):
        low, high = FILM["size"].values()
        frames = max(frames, 2)  # a single one is shown twice
        share = max(min(FILM["max_video_tokens"] * 28 * 28, high // frames), int(low * 1.05))
        return self.smart_resize(
            frames, *size[::-1], factor=28, min_pixels=low, max_pixels=share * frames
        )

    def replaced(self, text, grid, meta):
        of = object.__new__(Qwen3VLProcessor)
        of.__dict__.update(
            video_processor=self.videos,
            vision_start_token="<|vision_start|>",
            vision_end_token="<|vision_end|>",
            video_token="<|place|>",
        )
        self.videos.__dict__.update(merge_size=2, temporal_patch_size=2)
        made = dict(video_grid_thw=torch.tensor([grid]), video_metadata=[meta])
        marker = "<|vision_start|><|video_pad|><|vision_end|>"
        return text.replace(marker, of.replace_video_token(made, 0), 1)


def video_case(cls, config, **settings):
    return video(cls, config, Watched, FILM, **{"files": FILES, **settings})


CASES = {
    "": case("Qwen3VLForConditionalGeneration", config),
    "video": video_case("Qwen3VLForConditionalGeneration", config),
}
