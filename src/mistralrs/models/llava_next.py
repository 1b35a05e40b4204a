"""LLaVA 1.6: LLaVA that also sees a picture in tiles, line by line, with a learned row at the end of each line."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mistralrs.models import llava
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import empty
from mistralrs.nn.media import Media, Prepared

GRIDS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))  # height, width


def best(size: image.Size, grids: Sequence[Sequence[int]]) -> image.Size:
    """Of the grids the one that keeps most of a picture's pixels; of equal ones the smallest."""

    def loss(grid: Sequence[int]) -> tuple[int, int]:
        scale = min(grid[1] / size[0], grid[0] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return -kept, grid[0] * grid[1] - kept

    height, width = min(grids, key=loss)
    return width, height


def seen(size: image.Size, lines: int, columns: int) -> tuple[int, int]:
    """Lines and columns of a grid's rows to leave out on each side, where only padding is."""
    if size[0] / size[1] > columns / lines:
        return (lines - int(round(size[1] * (columns / size[0]), 7))) // 2, 0
    return 0, (columns - int(round(size[0] * (lines / size[1]), 7))) // 2


class Processor(llava.Processor):
    """The whole picture as a square, then its tiles in the grid that fits best."""

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        super().__init__(cfg, files)
        named = files.get("image_grid_pinpoints") or cfg.get("image_grid_pinpoints") or GRIDS
        self.grids = [tuple(grid) for grid in named]

    def prepare(self, picture: image.Picture) -> Prepared:
        views = [self.look.resize(picture, (self.edge, self.edge)), *self.tiles(picture)]
        pixels = torch.stack([self.look.pixels(image.center_crop(v, self.crop)) for v in views])
        width, height = best(picture.size, self.grids)
        down, across = height // self.crop[1], width // self.crop[0]
        side = self.crop[1] // self.patch
        skip = seen(picture.size, side * down, side * across)
        lines, columns = side * down - 2 * skip[0], side * across - 2 * skip[1]
        rows = side * side + self.full + lines * (columns + 1)
        return Prepared({"pixels": pixels}, rows, (down, across, *skip))

    def tiles(self, picture: image.Picture) -> list[image.Picture]:
        """The picture in its grid, padded with black, in tiles."""
        grid = best(picture.size, self.grids)
        inside = self.look.resize(picture, image.within(picture.size, grid))
        whole = Image.new("RGB", grid)
        whole.paste(inside, ((grid[0] - inside.width) // 2, (grid[1] - inside.height) // 2))
        return image.tiles(whole, self.crop)


class LlavaNext(llava.Llava):
    text_defaults = {
        **llava.Llava.text_defaults,
        "mistral": dict(
            hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=8,
        ),
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        self.side = cfg.vision_config.image_size // cfg.vision_config.patch_size
        self.newline = empty(cfg.text.hidden_size)

    def forward(self, media: Media) -> Tensor:
        features = self.features(media.inputs["pixels"])
        whole, *tiles = self.projector(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        down, across, lines, columns = media.grid
        grid = torch.stack(tiles).view(down, across, self.side, self.side, -1)
        grid = grid.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [lines, columns, D]
        grid = grid[lines : len(grid) - lines, columns : grid.shape[1] - columns]
        ends = self.newline.expand(len(grid), 1, -1)
        return torch.cat((whole, torch.cat((grid, ends), 1).flatten(0, 1)))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, {r"^(model\.)?image_newline$": "encoder.newline"})
        return super().checkpoint(cfg, named)
