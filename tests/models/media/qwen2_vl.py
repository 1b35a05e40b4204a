"""Qwen 2 VL."""

import sys
from importlib import import_module
from types import ModuleType
from unittest import mock

import numpy as np
import torch
import transformers as hf
from PIL import Image
from transformers.video_utils import VideoMetadata

from tests.models.media.case import FIRST, TEXT, Case

VISION = dict(depth=2, embed_dim=32, hidden_size=64, num_heads=4, mlp_ratio=2, patch_size=14)
TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
IDS = dict(
    vision_start_token_id=FIRST,
    vision_end_token_id=FIRST + 1,
    image_token_id=FIRST + 2,
    video_token_id=FIRST + 3,
)
ROPE = dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3])
SIZE = dict(min_pixels=56 * 56, max_pixels=28 * 28 * 12)


def config():
    text = TEXT | dict(rope_parameters=ROPE)
    return hf.Qwen2VLConfig(
        vision_config=VISION, text_config=text, tie_word_embeddings=False, **IDS
    )


class Processor:
    """Qwen's needs torchvision for its films; this is what it does with images, by its own image processor."""

    def __init__(self, tokenizer, image_processor):
        self.tokenizer, self.image_processor = tokenizer, image_processor

    def __call__(self, text, images, return_tensors):
        inputs = dict(self.image_processor(images, return_tensors="pt"))
        for grid in inputs["image_grid_thw"].tolist():
            text = text.replace("<|image_pad|>", "<|place|>" * (grid[1] * grid[2] // 4), 1)
        inputs |= self.tokenizer(text.replace("<|place|>", "<|image_pad|>"), return_tensors="pt")
        kinds = (inputs["input_ids"] == IDS["image_token_id"]).int()
        return {**inputs, "mm_token_type_ids": kinds}


def processor(tokenizer):
    return Processor(tokenizer, hf.Qwen2VLImageProcessorPil(**SIZE))


def theirs(name, **settings):
    """The video processor of transformers without torchvision, which only its resizing uses."""
    parts = ("torchvision", "torchvision.transforms", "torchvision.transforms.v2")
    stubs = {part: ModuleType(part) for part in (*parts, "torchvision.transforms.v2.functional")}
    stubs[parts[2]].functional = stubs["torchvision.transforms.v2.functional"]
    with mock.patch.dict(sys.modules, stubs):
        module = import_module(f"transformers.models.{name}.video_processing_{name}")
    found = object.__new__(getattr(module, CLASSES[name]))
    found.__dict__.update(dict(num_frames=None, fps=2), **settings)
    return found, module


CLASSES = {
    "qwen2_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
    "smolvlm": "SmolVLMVideoProcessor",
}
FILM = dict(size=dict(shortest_edge=28 * 28 * 2, longest_edge=28 * 28 * 9), max_video_tokens=40)


class Films:
    """A Qwen processor for films: sampling, sizes, patches and text of transformers; resizing of Pillow."""

    def __init__(self, tokenizer, name="qwen2_vl", look=hf.Qwen2VLImageProcessorPil, **settings):
        self.tokenizer, self.look = tokenizer, look
        self.videos, module = theirs(name, **settings)
        self.smart_resize = module.smart_resize

    def __call__(self, text, videos, return_tensors):
        made = [self.patches(*one) for one in videos]
        grids, metas = [one[1] for one in made], [one[2] for one in made]
        for grid, meta in zip(grids, metas):
            text = self.replaced(text, grid, meta)
        words = self.tokenizer(text.replace("<|place|>", "<|video_pad|>"), return_tensors="pt")
        return {
            **words,
            "pixel_values_videos": torch.cat([one[0] for one in made]),
            "video_grid_thw": torch.tensor(grids),
            "second_per_grid_ts": torch.tensor([2 / meta.sampled_fps for meta in metas]),
            "mm_token_type_ids": (words["input_ids"] == IDS["video_token_id"]).int() * 2,
        }

    def patches(self, frames, rate):
        meta = VideoMetadata(total_num_frames=len(frames), fps=float(rate))
        places = [0] if len(frames) < 2 else self.videos.sample_frames(metadata=meta)
        meta.frames_indices = [int(place) for place in places]
        height, width = self.size(frames[0].size, len(places))
        shown = [
            np.asarray(frames[i].resize((width, height), Image.Resampling.BICUBIC))
            for i in meta.frames_indices
        ]
        x = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)[None].float() / 255
        mean, std = (
            torch.tensor(v)[:, None, None] for v in (self.look.image_mean, self.look.image_std)
        )
        x, *grid = self.videos.patchify((x - mean) / std, 14, 2, 2)
        return x[0], grid, meta

    def size(self, size, frames):
        """What their `resize` does before it resizes, with `cap_pixels_per_frame`."""
        low, high = FILM["size"].values()
        share = int(FILM["max_video_tokens"] * 28 * 28 * 0.9) * 2 // frames
        most = max(min(high, share), int(low * 1.05))
        return self.smart_resize(*size[::-1], factor=28, min_pixels=low, max_pixels=most)

    def replaced(self, text, grid, meta):
        rows = "<|place|>" * (grid[0] * grid[1] * grid[2] // 4)
        return text.replace("<|video_pad|>", rows, 1)


def video(cls, config, processor=Films, films=FILM, **settings):
    return Case(
        cls,
        config,
        TOKENS,
        "<|vision_start|><|video_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values_videos"),
        films=films,
        kind="video",
        **{"files": SIZE, **settings},
    )


CASES = {
    "": Case(
        "Qwen2VLForConditionalGeneration",
        config,
        TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values"),
        files=SIZE,
    ),
    "video": video("Qwen2VLForConditionalGeneration", config),
}
