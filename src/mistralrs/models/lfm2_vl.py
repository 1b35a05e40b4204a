"""LFM 2 VL: tiles of a large picture and the whole of it by SigLIP 2, four patches to a row."""

import math
from collections.abc import Mapping
from itertools import product
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
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import ACTS, TRANSFORMER, Block, Table


class Processor:
    """Whole squares of patches; a picture of too many is cut into tiles, and shown once more as a whole."""

    joined = False
    placeholder = "<image>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.BILINEAR})
        self.patch, self.merge = files.get("encoder_patch_size", 16), cfg.downsample_factor
        self.square = self.patch * self.merge
        self.tile, self.whole = files.get("tile_size", 512), files.get("use_thumbnail", True)
        least, most = files.get("min_image_tokens", 64), files.get("max_image_tokens", 256)
        self.least, self.most = least * self.square**2, most * self.square**2
        self.tolerance = files.get("max_pixels_tolerance", 2.0)
        splits = files.get("do_image_splitting", True)
        self.tiles = grids(files.get("min_tiles", 2), files.get("max_tiles", 10)) if splits else []
        self.frames = files.get("use_image_special_tokens", True)

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        size = image.multiples(picture.size, self.square, self.least, self.most, self.square)
        columns, lines = self.grid(picture.size)
        views = []
        if lines * columns > 1:
            wide = self.look.resize(picture, (columns * self.tile, lines * self.tile))
            views = image.tiles(wide, (self.tile, self.tile))
        if not views or self.whole:
            views.append(self.look.resize(picture, size))
        patches = torch.cat([self.patches(view) for view in views])
        grid = (lines, columns, *(side // self.square for view in views for side in view.size))
        return Prepared({"patches": patches}, len(patches) // self.merge**2, grid)

    def grid(self, size: image.Size) -> image.Size:
        """Columns and lines of tiles."""
        sides = [max(self.patch, round(side / self.square) * self.square) for side in size]
        large = math.prod(sides) > self.most * self.tolerance
        return closest(size, self.tiles, self.tile) if large and self.tiles else (1, 1)

    def patches(self, picture: image.Picture) -> Tensor:
        """The patches [P, size * size * 3] of one view, line by line."""
        x = self.look.pixels(picture).unfold(1, self.patch, self.patch)
        return x.unfold(2, self.patch, self.patch).permute(1, 2, 3, 4, 0).flatten(2).flatten(0, 1)

    def expand(self, prepared: Prepared, index: int) -> str:
        lines, columns, *sizes = prepared.grid
        views = [self.placeholder * (w * h) for w, h in zip(sizes[::2], sizes[1::2], strict=True)]
        if not self.frames:
            return "".join(views)
        if lines * columns > 1:
            places = product(range(1, lines + 1), range(1, columns + 1))
            names = [f"<|img_row_{y}_col_{x}|>" for y, x in places] + ["<|img_thumbnail|>"]
            views = [name + view for name, view in zip(names, views)]  # the last is optional
        return f"<|image_start|>{''.join(views)}<|image_end|>"


def grids(least: int, most: int) -> list[image.Size]:
    """Columns and lines of every arrangement of so many tiles, the small ones first."""
    sides = range(1, most + 1)
    found = {(w, h) for w in sides for h in sides if least <= w * h <= most}
    return sorted(found, key=math.prod)


def closest(size: image.Size, grids: list[image.Size], tile: int) -> image.Size:
    """The grid whose proportions are nearest; of equally near ones the largest that the picture half fills."""
    ratio, best, least = size[0] / size[1], (1, 1), math.inf
    for grid in grids:
        away = abs(ratio - grid[0] / grid[1])
        half = math.prod(size) > 0.5 * tile * tile * math.prod(grid)
        if away < least or (away == least and half):
            best, least = grid, away
    return best


class Tower(nn.Module):
    """SigLIP 2: a table of places that is stretched over pictures of any size."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.patch_embedding = Linear(cfg.num_channels * cfg.patch_size**2, dim, True)
        self.position_embedding = Table(cfg.num_patches, dim)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.post_layernorm = LayerNorm(dim, cfg.layer_norm_eps)

    def forward(self, patches: Tensor, lines: int, columns: int) -> Tensor:
        """patches [P, K] of one picture -> [P, V]."""
        x = self.patch_embedding(patches) + self.places(lines, columns)
        for block in self.layers:
            x = block(x, 1)
        return self.post_layernorm(x)

    def places(self, lines: int, columns: int) -> Tensor:
        """Embeddings [P, V] of the places of patches."""
        table = self.position_embedding.weight
        side = int(len(table) ** 0.5)
        square = table.float().T.view(1, -1, side, side)
        stretched = F.interpolate(square, (lines, columns), mode="bilinear", antialias=True)
        return stretched[0].flatten(1).T.to(table.dtype)


class Projector(nn.Module):
    """A square of patches -> a row: linear_2(act(linear_1(norm(x))))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        wide = cfg.vision_config.hidden_size * cfg.downsample_factor**2
        width, bias = cfg.projector_hidden_size, cfg.projector_bias
        self.layer_norm = LayerNorm(wide, 1e-5) if cfg.projector_use_layernorm else nn.Identity()
        self.linear_1, self.linear_2 = (
            Linear(wide, width, bias),
            Linear(width, cfg.text.hidden_size, bias),
        )
        self.act, self.merge = ACTS[cfg.projector_hidden_act], cfg.downsample_factor

    def forward(self, x: Tensor, lines: int, columns: int) -> Tensor:
        """x [P, V] -> [rows, D]."""
        m = self.merge
        squares = x.view(lines // m, m, columns // m, m, -1).transpose(1, 2)
        x = self.layer_norm(squares.flatten(2).flatten(0, 1))
        return self.linear_2(self.act(self.linear_1(x)))


class Lfm2VL(Encoder):
    defaults = dict(
        downsample_factor=2,
        projector_hidden_act="gelu",
        projector_hidden_size=2560,
        projector_bias=True,
        projector_use_layernorm=True,
        tie_word_embeddings=True,
        vision_config=dict(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
            patch_size=16, num_patches=256, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
    )  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        self.tower, self.projector = Tower(cfg.vision_config), Projector(cfg)

    def forward(self, media: Media) -> Tensor:
        m, sizes = self.projector.merge, media.grid[2:]
        shapes = [(h * m, w * m) for w, h in zip(sizes[::2], sizes[1::2], strict=True)]
        views = media.inputs["patches"].split([h * w for h, w in shapes])
        return torch.cat(
            [self.projector(self.tower(x, *shape), *shape) for x, shape in zip(views, shapes)]
        )

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return drop(rename(tensors, NAMES | TRANSFORMER), r"tower\.head\.")
