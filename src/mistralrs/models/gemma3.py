"""Gemma 3: SigLIP's patches, pooled to 256 rows that see each other; long pictures also in pieces, if asked for."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.models.llava import NAMES
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import TRANSFORMER, Transformer, flatten_kernels

BEGIN, END = "<start_of_image>", "<end_of_image>"


class Processor:
    """The whole picture as a square, and with pan and scan the pieces of a long one as squares too."""

    joined = True
    placeholder = "<image_soft_token>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.BILINEAR})
        self.size = image.box(files.get("size", 896))
        self.rows = files.get("image_seq_length") or cfg.mm_tokens_per_image
        self.scans = bool(files.get("do_pan_and_scan"))
        self.least = files.get("pan_and_scan_min_crop_size") or 256
        self.most = files.get("pan_and_scan_max_num_crops") or 4
        self.ratio = files.get("pan_and_scan_min_ratio_to_activate") or 1.2

    def marker(self, index: int) -> str:
        return BEGIN

    def prepare(self, picture: image.Picture) -> Prepared:
        views = [picture, *(self.pieces(picture) if self.scans else ())]
        pixels = torch.stack([self.look.pixels(self.look.resize(v, self.size)) for v in views])
        return Prepared({"pixels": pixels}, len(views) * self.rows, (len(views),))

    def pieces(self, picture: image.Picture) -> list[image.Picture]:
        """Equal pieces along the longer edge."""
        low, high = min(picture.size), max(picture.size)
        if high / low < self.ratio:
            return []
        count = min(high // self.least, math.floor(high / low + 0.5))
        length = math.ceil(high / min(self.most, max(2, count)))
        if min(length, low) < self.least:
            return []
        starts = range(0, min(self.most, max(2, count)) * length, length)
        wide = picture.width >= picture.height
        boxes = [(s, 0, s + length, low) if wide else (0, s, low, s + length) for s in starts]
        bounds = (*picture.size, *picture.size)
        return [picture.crop(tuple(map(min, box, bounds))) for box in boxes]  # type: ignore[arg-type]

    def expand(self, prepared: Prepared, index: int) -> str:
        one = f"\n\n{BEGIN}{self.placeholder * self.rows}{END}\n\n"
        pieces = prepared.grid[0] - 1
        if not pieces:
            return one
        crops = " ".join([one] * pieces)
        return f"Here is the original image {one} and here are some crops to help you see better {crops}"


class Projector(nn.Module):
    """Mean over squares of patches, a norm, a matrix."""

    def __init__(self, cfg: Settings):
        super().__init__()
        vision = cfg.vision_config
        self.side, self.rows = (
            vision.image_size // vision.patch_size,
            int(cfg.mm_tokens_per_image**0.5),
        )
        self.norm = RMSNorm(vision.hidden_size, vision.layer_norm_eps, offset=1.0)
        self.linear = Linear(vision.hidden_size, cfg.text.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, P, V] -> [N * rows, D]."""
        grid = x.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        pooled = F.avg_pool2d(grid, self.side // self.rows).flatten(2).transpose(1, 2)
        return self.linear(self.norm(pooled.flatten(0, 1)))


class Gemma3(Encoder):
    text = "gemma3_text"
    defaults = dict(
        mm_tokens_per_image=256,
        vision_config=dict(
            hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, num_channels=3,
            image_size=896, patch_size=14, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
    )  # fmt: skip
    text_defaults = {
        "gemma3_text": dict(
            vocab_size=262208, num_attention_heads=8, num_key_value_heads=4, head_dim=256, num_hidden_layers=26,
            hidden_size=2304, intermediate_size=9216, sliding_window=4096, tie_word_embeddings=True,
            rms_norm_eps=1e-6,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        vision = cfg.vision_config
        self.tower = Transformer(vision, clip=False, layers=vision.num_hidden_layers, post=True)
        self.projector = Projector(cfg)

    def forward(self, media: Media) -> Tensor:
        return self.projector(self.tower(media.inputs["pixels"])[0])

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        own = {
            "projector.mm_soft_emb_norm": "projector.norm",
            "projector.mm_input_projection_weight": "projector.linear.weight",
        }
        named = rename(tensors, NAMES | TRANSFORMER | own)
        named = drop(named, r"tower\.head\.", "position_ids")
        matrix = named["encoder.projector.linear.weight"]
        named["encoder.projector.linear.weight"] = matrix.transpose().map(Tensor.contiguous)
        return flatten_kernels(named, "patch_embedding.weight")
