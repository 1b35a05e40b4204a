"""The vocabulary that image processors are written in: resize, crop, normalize, cut into patches.

Pictures are Pillow's, RGB and upright, until `Look.pixels` makes them tensors. Resizing is Pillow's, whose filters
are the ones that models were trained with; torchvision's antialiased filters differ from them by up to 2 of 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Picture = Image.Image
Size = tuple[int, int]  # width, height: Pillow's order

CLIP = dict(
    image_mean=(0.48145466, 0.4578275, 0.40821073), image_std=(0.26862954, 0.26130258, 0.27577711)
)
HALF = dict(image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))
BICUBIC, BILINEAR, LANCZOS = 3, 2, 1  # `resample` of preprocessor_config.json
LOOKS = (
    "image_mean", "image_std", "do_normalize", "rescale_factor", "do_rescale", "resample",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What every processor ends with: the scale, mean and deviation of pixels; and the filter that it resizes with."""

    mean: Sequence[float]
    std: Sequence[float]
    scale: float = 1 / 255
    resample: int = BICUBIC

    @classmethod
    def of(cls, files: Mapping[str, Any], **defaults: Any) -> Look:
        """By preprocessor_config.json, completed by the family's defaults in the same spelling."""
        said = {**defaults, **{key: value for key, value in files.items() if value is not None}}
        normal = said.get("do_normalize", True)
        mean, std = (tuple(map(float, said[key])) for key in ("image_mean", "image_std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("image_mean and image_std have three numbers")
        return cls(
            mean if normal else (0.0,) * 3,
            std if normal else (1.0,) * 3,
            float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0,
            Image.Resampling(said.get("resample", BICUBIC)),
        )

    def resize(self, image: Picture, size: Size) -> Picture:
        """Another size, with the family's filter."""
        return image.resize(size, Image.Resampling(self.resample)) if image.size != size else image

    def pixels(self, image: Picture) -> Tensor:
        """Float32 [3, H, W], scaled and normalized."""
        x = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).float()
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.mean, self.std))
        return x.mul_(self.scale).sub_(mean).div_(std).contiguous()


def shortest(size: Size, edge: int) -> Size:
    """The size with the same proportions whose shorter edge is `edge`."""
    low, high = min(size), max(size)
    other = int(edge * high / low)
    return (edge, other) if size[0] <= size[1] else (other, edge)


def longest(size: Size, edge: int) -> Size:
    """The size with the same proportions whose longer edge is `edge`."""
    factor = edge / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def within(size: Size, box: Size) -> Size:
    """The largest size with the same proportions that fits in a box."""
    width, height = box[0] / size[0], box[1] / size[1]
    if width < height:
        return box[0], min(math.ceil(size[1] * width), box[1])
    return min(math.ceil(size[0] * height), box[0]), box[1]


def canvas(size: Size, tile: int, grids: Sequence[Size], largest: bool = False) -> Size:
    """Lines and columns of tiles: those that shrink a picture least or else enlarge it least (`largest`: most)."""

    def scale(grid: Size) -> float:
        return min(grid[0] * tile / size[1], grid[1] * tile / size[0])

    larger = [scale(grid) for grid in grids if scale(grid) >= 1]
    pick = max if largest or not larger else min
    wanted = pick(larger or map(scale, grids))
    return min((grid for grid in grids if scale(grid) == wanted), key=math.prod)


def inside(size: Size, box: Size) -> Size:
    """The size with the same proportions that fits in a box and fills one of its edges, rounded down."""
    x, y = (limit / side for limit, side in zip(box, size, strict=True))
    if x < y:
        return box[0], max(min(math.floor(size[1] * x), box[1]), 1)
    return max(min(math.floor(size[0] * y), box[0]), 1), box[1]


def between(size: Size, least: int, most: Size) -> Size:
    """Each edge, but at least and at most so long."""
    return min(max(size[0], least), most[0]), min(max(size[1], least), most[1])


def tiles(image: Picture, size: Size) -> list[Picture]:
    """Equal tiles, line by line; the picture's edges are multiples of theirs."""
    w, h = size
    starts = [(x, y) for y in range(0, image.height, h) for x in range(0, image.width, w)]
    return [image.crop((x, y, x + w, y + h)) for x, y in starts]


def squares(x: Tensor, edge: int) -> Tensor:
    """x [3, H, W] -> [1 + N, 3, edge, edge]: the whole of it scaled to a square, then its squares line by line."""
    whole = F.interpolate(x[None], (edge, edge), mode="bicubic")
    tiles = x.unfold(1, edge, edge).unfold(2, edge, edge).permute(1, 2, 0, 3, 4)
    return torch.cat((whole, tiles.flatten(0, 1)))


def center_crop(image: Picture, size: Size) -> Picture:
    """The middle of a picture; what lies outside of it is black."""
    left, top = ((have - want) // 2 for have, want in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))


def multiples(size: Size, factor: int, least: int, most: int, edge: int = 0) -> Size:
    """The nearest size whose edges are multiples of `factor` with `least` to `most` pixels in all (Qwen2-VL).

    Edges are rounded to at least `edge` before pixels are counted.
    """
    sides = [max(edge, round(side / factor) * factor) for side in size]
    if math.prod(sides) > most:
        shrink = math.sqrt(math.prod(size) / most)
        sides = [max(factor, math.floor(side / shrink / factor) * factor) for side in size]
    elif math.prod(sides) < least:
        grow = math.sqrt(least / math.prod(size))
        sides = [math.ceil(side * grow / factor) * factor for side in size]
    return sides[0], sides[1]


def box(value: Any) -> Size:
    """A size in preprocessor_config.json: height and width, or one number for both."""
    if isinstance(value, Mapping):
        return int(value["width"]), int(value["height"])
    return int(value), int(value)


def edge(value: Any, name: str = "shortest_edge") -> int:
    """An edge in preprocessor_config.json: an object with this name, or the bare number."""
    return int(value[name] if isinstance(value, Mapping) else value)
