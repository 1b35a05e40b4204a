"""LFM 2 VL: tiles and the whole picture by SigLIP 2."""

import numpy as np
import torch
import transformers as hf
from PIL import Image

from tests.models.media.case import FIRST, TEXT, Case, boost

TOWER = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    patch_size=14,
    num_patches=25,
)
FILES = dict(
    encoder_patch_size=14,
    tile_size=56,
    max_tiles=6,
    min_image_tokens=4,
    max_image_tokens=9,
    max_pixels_tolerance=1.0,
)
TOKENS = ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
PLACES = tuple(f"<|img_row_{y}_col_{x}|>" for y in range(1, 7) for x in range(1, 7))

# Lines and columns of tiles, height and width of the whole: what transformers 5.23 with torchvision 0.28 says of FILES.
GRIDS = {
    (90, 70): (1, 1, 56, 84),
    (57, 131): (2, 1, 112, 28),
    (301, 40): (1, 6, 28, 224),
    (28, 29): (1, 1, 84, 56),
}
PLAIN = {size: (1, 1, *grid[2:]) for size, grid in GRIDS.items()}


def config(**settings):
    def make():
        text = boost(
            TEXT,
            layer_types=["conv", "full_attention", "conv", "full_attention"],
            block_auto_adjust_ff_dim=False,
        )
        return hf.Lfm2VlConfig(
            vision_config=hf.Siglip2VisionConfig(**TOWER, vision_use_head=False),
            text_config=hf.Lfm2Config(**text),
            image_token_id=FIRST,
            projector_hidden_size=40,
            tie_word_embeddings=False,
            **settings,
        )

    return make


class Processor:
    """Theirs needs torchvision; this does the same by the table above and Pillow."""

    def __init__(self, tokenizer, grids=GRIDS, whole=True):
        self.tokenizer, self.grids, self.whole = tokenizer, grids, whole

    def views(self, picture):
        """The parts of a picture that the encoder sees."""
        lines, columns, height, width = self.grids[picture.size]
        bilinear = Image.Resampling.BILINEAR
        found = []
        if lines * columns > 1:
            wide = picture.resize((columns * 56, lines * 56), bilinear)
            corners = [(x * 56, y * 56) for y in range(lines) for x in range(columns)]
            found = [wide.crop((x, y, x + 56, y + 56)) for x, y in corners]
        return found + [picture.resize((width, height), bilinear)] * (not found or self.whole)

    def text(self, picture):
        """What stands for a picture in the prompt."""
        lines, columns, _, _ = self.grids[picture.size]
        rows = ["[PLACE]" * (v.width // 28 * (v.height // 28)) for v in self.views(picture)]
        if lines * columns > 1:
            names = [
                f"<|img_row_{y + 1}_col_{x + 1}|>" for y in range(lines) for x in range(columns)
            ]
            rows = [name + row for name, row in zip([*names, "<|img_thumbnail|>"], rows)]
        return f"<|image_start|>{''.join(rows)}<|image_end|>"

    def __call__(self, text, images, return_tensors):
        views = [view for image in images for view in self.views(image)]
        shapes = [(view.height // 14, view.width // 14) for view in views]
        longest = max(h * w for h, w in shapes)
        values = torch.zeros(len(views), longest, 588)
        mask = torch.zeros(len(views), longest, dtype=torch.int32)
        for i, (view, (h, w)) in enumerate(zip(views, shapes)):
            x = np.asarray(view, dtype=np.float32).reshape(h, 14, w, 14, 3) / 127.5 - 1
            values[i, : h * w] = torch.from_numpy(x.transpose(0, 2, 1, 3, 4).reshape(h * w, -1))
            mask[i, : h * w] = 1
        for image in images:
            text = text.replace("<image>", self.text(image), 1)
        words = self.tokenizer(text.replace("[PLACE]", "<image>"), return_tensors="pt")
        return {
            **words,
            "pixel_values": values,
            "pixel_attention_mask": mask,
            "spatial_shapes": torch.tensor(shapes),
            "views": [len(self.views(image)) for image in images],
        }


def pixels(inputs):
    """Their patches without the padding, by picture."""
    rows = zip(inputs["pixel_values"], inputs["pixel_attention_mask"].sum(1).tolist())
    views = iter([x[:count] for x, count in rows])
    return [torch.cat([next(views) for _ in range(count)]) for count in inputs["views"]]


def case(make, files=FILES, grids=GRIDS, whole=True):
    return Case(
        "Lfm2VlForConditionalGeneration",
        make,
        (*TOKENS, *PLACES),
        "<image>",
        lambda tokenizer: Processor(tokenizer, grids, whole),
        ("patches", "pixel_values"),
        files=files,
        split=pixels,
    )


CASES = {
    "": case(config()),
    "no norm, no biases, one view": case(
        config(projector_use_layernorm=False, projector_bias=False),
        boost(FILES, do_image_splitting=False),
        PLAIN,
    ),
    "tiles alone": case(config(), boost(FILES, use_thumbnail=False), whole=False),
}
