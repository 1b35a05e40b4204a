"""Idefics 3 and SmolVLM: square tiles of a large picture and the whole of it, four patches to a row."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mistralrs.models import llava
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.vision import TRANSFORMER, Transformer, flatten_kernels

NAMES = {
    r"^model\.text_model\.": "model.",
    r"^model\.vision_model\.": "encoder.tower.",
    r"^model\.connector\.modality_projection\.proj\.": "encoder.projector.",
}
AROUND, GLOBAL = "<fake_token_around_image>", "<global-img>"
LIMIT = 4096  # longest edge before tiles are cut


class Processor:
    """The longer edge to a fixed length, both edges to multiples of a tile, cut into tiles."""

    joined = False
    placeholder = "<image>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.LANCZOS})
        self.tile = image.edge(files.get("max_image_size", 364), "longest_edge")
        self.edge = image.edge(files.get("size", 4 * self.tile), "longest_edge")
        self.splits = files.get("do_image_splitting", True)
        side = cfg.vision_config.image_size // cfg.vision_config.patch_size
        self.rows = files.get("image_seq_len") or (side // cfg.scale_factor) ** 2

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        square = (self.tile, self.tile)
        picture = self.look.resize(picture, scaled(picture.size, self.edge))
        tiles, grid = [], (0, 0)
        if self.splits:
            picture = self.look.resize(picture, covering(picture.size, self.tile))
            if max(picture.size) > self.tile:
                tiles = image.tiles(picture, square)
                grid = picture.height // self.tile, picture.width // self.tile
        views = [*tiles, self.look.resize(picture, square)]
        pixels = torch.stack([self.look.pixels(view) for view in views])
        return Prepared({"pixels": pixels}, len(views) * self.rows, grid)

    def expand(self, prepared: Prepared, index: int) -> str:
        rows = self.placeholder * self.rows
        lines, columns = prepared.grid
        whole = f"{AROUND}{GLOBAL}{rows}{AROUND}"
        tiles = "".join(
            "".join(f"{AROUND}<row_{y + 1}_col_{x + 1}>{rows}" for x in range(columns)) + "\n"
            for y in range(lines)
        )
        return f"{tiles}\n{whole}" if lines else whole


def scaled(size: image.Size, edge: int) -> image.Size:
    """The size whose longer edge is `edge`, at most LIMIT; the other one is even."""
    ratio = size[0] / size[1]
    if ratio >= 1:
        other = int(edge / ratio)
        size = edge, max(other + other % 2, 1)
    else:
        other = int(edge * ratio)
        size = max(other + other % 2, 1), edge
    if edge <= LIMIT:
        return size
    ratio = size[0] / size[1]
    return (
        (LIMIT, max(int(LIMIT / ratio), 1)) if ratio >= 1 else (max(int(LIMIT * ratio), 1), LIMIT)
    )


def covering(size: image.Size, tile: int) -> image.Size:
    """About the same proportions in whole tiles."""
    ratio = size[0] / size[1]
    if ratio >= 1:
        width = math.ceil(size[0] / tile) * tile
        return width, math.ceil(int(width / ratio) / tile) * tile
    height = math.ceil(size[1] / tile) * tile
    return math.ceil(int(height * ratio) / tile) * tile, height


class Tower(Transformer):
    """SigLIP for tiles of any size: a patch takes the position that its place in the picture has in a square."""

    def places(self, lines: int, columns: int) -> Tensor:
        side = int(len(self.position_embedding.weight) ** 0.5)
        borders = torch.arange(1 / side, 1.0, 1 / side)
        y, x = (
            torch.bucketize(
                (torch.arange(n) * (1.0 / torch.tensor(n))).clamp(max=1 - 1e-6), borders, right=True
            )
            for n in (lines, columns)
        )
        at = (y[:, None] * side + x).flatten()
        return self.position_embedding.weight[at.to(self.position_embedding.weight.device)]


class Idefics3(Encoder):
    defaults = dict(
        scale_factor=2,
        vision_config=dict(
            hidden_size=1152, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=16, num_channels=3,
            image_size=224, patch_size=32, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
    )  # fmt: skip
    text_defaults = {"llama": {**llava.Llava.text_defaults["llama"], "rms_norm_eps": 1e-5}}

    def __init__(self, cfg: Settings):
        super().__init__()
        vision, self.merge = cfg.vision_config, cfg.scale_factor
        self.tower = Tower(vision, clip=False, layers=vision.num_hidden_layers, post=True)
        self.projector = Linear(vision.hidden_size * self.merge**2, cfg.text.hidden_size)

    def forward(self, media: Media) -> Tensor:
        (x,) = self.tower(media.inputs["pixels"])
        side, m = int(x.shape[1] ** 0.5), self.merge
        squares = x.view(len(x), side // m, m, side // m, m, -1).transpose(2, 3)
        return self.projector(squares.flatten(3).flatten(0, 2))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = drop(rename(tensors, NAMES | TRANSFORMER), r"tower\.head\.", "position_ids")
        return flatten_kernels(named, "patch_embedding.weight")
