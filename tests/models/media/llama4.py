"""Llama 4: tiles on a canvas."""

import math

import numpy as np
import torch
import transformers as hf
from PIL import Image

from tests.models.media.case import FIRST, TEXT, TOWER, Case

FILES = dict(size=dict(height=56, width=56), max_patches=4)
TOKENS = (
    "<|image_start|>",
    "<|image_end|>",
    "<|patch|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|image|>",
)
# Canvases [height, width] that transformers picks for the pictures of the tests, and sizes before padding.
CANVAS = {
    (90, 70): ((112, 112), (70, 90)),
    (57, 131): ((168, 56), (128, 56)),
    (301, 40): ((56, 224), (29, 224)),
    (28, 29): ((56, 56), (56, 54)),
}


def config():
    vision = TOWER | dict(
        intermediate_size=128, vision_output_dim=40, projector_input_dim=40, projector_output_dim=40
    )
    text = TEXT | dict(
        head_dim=16,
        intermediate_size_mlp=112,
        num_local_experts=4,
        attention_chunk_size=32,
        floor_scale=16,
        no_rope_layers=[1, 1, 1, 0],
        interleave_moe_layer_step=2,
    )
    return hf.Llama4Config(
        vision_config=vision,
        text_config=text,
        boi_token_index=FIRST,
        eoi_token_index=FIRST + 1,
        image_token_index=FIRST + 2,
    )


class Processor:
    """Theirs needs torchvision; this is what it does, with Pillow's filter and the sizes that it finds."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, images, return_tensors):
        views = []
        for picture in images:
            (height, width), size = CANVAS[picture.size]
            resized = picture.resize(size[::-1], Image.Resampling.BILINEAR)
            canvas = Image.new("RGB", (width, height))
            canvas.paste(resized)
            boxes = [
                (x, y, x + 56, y + 56) for y in range(0, height, 56) for x in range(0, width, 56)
            ]
            views += [canvas.crop(box) for box in boxes]
            tiles = ""
            if len(boxes) > 1:
                views.append(picture.resize((56, 56), Image.Resampling.BILINEAR))
                line = "<|tile_x_separator|>".join(["<|patch|>" * 4] * (width // 56))
                tiles = (line + "<|tile_y_separator|>") * (height // 56)
            whole = "<|patch|>" * 4
            text = text.replace("<|image|>", f"<|image_start|>{tiles}[IMG]{whole}<|image_end|>", 1)
        pixels = np.stack([np.array(view) for view in views]).transpose(0, 3, 1, 2)
        values = (torch.tensor(pixels).bfloat16() * (1 / 255) - 0.5) / 0.5
        tokens = self.tokenizer(text.replace("[IMG]", "<|image|>"), return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "pixel_values": values.float()}


def split(inputs):
    """Their views by image, told by the separators."""
    ids, counts = inputs["input_ids"][0].tolist(), []
    for id in ids:
        if id == FIRST:
            counts.append(0)
        counts[-1:] = [count + (id == FIRST + 2) for count in counts[-1:]]
    return list(inputs["pixel_values"].split([math.ceil(count / 4) for count in counts]))


CASES = {
    "": Case(
        "Llama4ForConditionalGeneration",
        config,
        TOKENS,
        "<|image|>",
        Processor,
        ("pixels", "pixel_values"),
        files=FILES,
        split=split,
    )
}
