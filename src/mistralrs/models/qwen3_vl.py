"""Qwen 3 VL: learned places in the picture, and rows of inner blocks for the first text layers (deepstack).

The pictures of a film stand in the text one by one, behind the time at which they are seen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.models import qwen2_vl
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.film import Film, between
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Prepared
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import FeedForward, Table

NAMES = {
    r"\.linear_fc": ".fc",
    r"\.deepstack_merger_list\.": ".deep_mergers.",
    r"(merger|deep_mergers\.\d+)\.norm\.": r"\1.ln_q.",
}


class Watcher(qwen2_vl.Watcher):
    """The pixels of all frames together are limited."""

    looks: ClassVar[Mapping[str, Any]] = image.HALF

    def context(self, cfg: Settings) -> int:
        return 768  # for each frame

    def sample(self, film: Film) -> list[int]:
        count = int(film.frames / film.rate * (film.wanted or self.fps))
        return between(film.frames, min(max(count, self.fewest), self.highest, film.frames))

    def size(self, size: image.Size, frames: int) -> image.Size:
        square, frames = self.patch * self.merge, max(frames, self.frames)
        if min(size) < square:
            grow = max(square / size[0], square / size[1])
            size = int(size[0] * grow), int(size[1] * grow)
        most = self.most
        if self.capped:
            share = max(min(self.tokens * square**2, most // frames), int(self.least * 1.05))
            most = share * frames
        return film_size(size, frames, square, self.least, most, self.frames)

    def times(self, film: Film, places: Sequence[int]) -> tuple[float, ...]:
        """The middle of the first and the last frame of each picture."""
        seconds = [place / film.rate for place in places]
        ends = [min(i + self.frames, len(places)) - 1 for i in range(0, len(places), self.frames)]
        starts = range(0, len(places), self.frames)
        return tuple((seconds[i] + seconds[j]) / 2 for i, j in zip(starts, ends, strict=True))

    def expand(self, prepared: Prepared, index: int) -> str:
        rows = self.placeholder * (prepared.rows // len(prepared.times))
        return "".join(
            f"<{seconds:.1f} seconds><|vision_start|>{rows}<|vision_end|>"
            for seconds in prepared.times
        )


def film_size(
    size: image.Size, frames: int, factor: int, least: int, most: int, group: int
) -> image.Size:
    """The nearest size in multiples of `factor` such that all frames have `least` to `most` pixels together."""
    sides = [round(side / factor) * factor for side in size]
    rounded, exact = round(frames / group) * group * math.prod(sides), frames * math.prod(size)
    if rounded > most:
        shrink = math.sqrt(exact / most)
        sides = [max(factor, math.floor(side / shrink / factor) * factor) for side in size]
    elif rounded < least:
        grow = math.sqrt(least / exact)
        sides = [math.ceil(side * grow / factor) * factor for side in size]
    return sides[0], sides[1]


class Block(qwen2_vl.Block):
    """Qwen 2 VL's, with a width of its own in the feed-forward part."""

    def __init__(self, cfg: Settings):
        nn.Module.__init__(self)
        dim = cfg.hidden_size
        self.norm1, self.norm2 = LayerNorm(dim, 1e-6), LayerNorm(dim, 1e-6)
        self.attn = qwen2_vl.Attention(dim, cfg.num_heads)
        self.mlp = FeedForward(dim, cfg.intermediate_size, cfg.hidden_act)


class Visual(nn.Module):
    """The vision tower; a few of its blocks give rows of their own."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.merge, out = cfg.hidden_size, cfg.spatial_merge_size, cfg.out_hidden_size
        self.head_dim, self.deep = dim // cfg.num_heads, list(cfg.deepstack_visual_indexes)
        inputs = cfg.in_channels * cfg.temporal_patch_size * cfg.patch_size**2
        self.patch_embed = Linear(inputs, dim, True)
        self.pos_embed = Table(cfg.num_position_embeddings, dim)
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.depth))
        self.merger = qwen2_vl.Merger(cfg, LayerNorm(dim, 1e-6), dim, out)
        wide = dim * self.merge**2
        self.deep_mergers = nn.ModuleList(
            qwen2_vl.Merger(cfg, LayerNorm(wide, 1e-6), dim, out) for _ in self.deep
        )

    def forward(self, patches: Tensor, grid: Sequence[int]) -> Tensor:
        """patches [P, K] of one picture -> [rows, D * (1 + deep blocks)]."""
        x = self.patch_embed(patches) + self.places(grid)
        cos, sin = qwen2_vl.turns(grid, self.merge, self.head_dim)
        turn = cos.to(x.device), sin.to(x.device)
        spans, deep = [len(x) // grid[0]] * grid[0], []
        for number, block in enumerate(self.blocks):
            x = block(x, turn, spans)
            if number in self.deep:  # normalized after patches became squares
                merger = self.deep_mergers[self.deep.index(number)]
                deep.append(merger(x.unflatten(0, (-1, self.merge**2)).flatten(1)))
        return torch.cat([self.merger(x), *deep], 1)

    def places(self, grid: Sequence[int]) -> Tensor:
        """Embeddings [P, V] of the places of patches, in merged order: a square table stretched over the picture."""
        table, m = self.pos_embed.weight, self.merge
        side = int(len(table) ** 0.5)
        square = table.float().T.view(1, -1, side, side)
        size = (grid[1] * m, grid[2] * m)
        x = F.interpolate(square, size=size, mode="bilinear", align_corners=True)[0]
        x = x.unflatten(2, (-1, m)).unflatten(1, (-1, m)).permute(1, 3, 2, 4, 0)
        return x.flatten(0, 3).repeat(grid[0], 1).to(table.dtype)


class Qwen3VL(qwen2_vl.Qwen2VL):
    text = "qwen3"
    Visual = Visual
    defaults: ClassVar[Mapping[str, Any]] = dict(
        vision_config=dict(
            depth=27, hidden_size=1152, intermediate_size=4304, out_hidden_size=3584, num_heads=16, patch_size=16,
            in_channels=3, spatial_merge_size=2, temporal_patch_size=2, hidden_act="gelu_pytorch_tanh",
            num_position_embeddings=2304, deepstack_visual_indexes=(8, 16, 24),
        )
    )  # fmt: skip
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "qwen3_vl_text": dict(
            vocab_size=151936, hidden_size=4096, intermediate_size=22016, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=32, head_dim=128, hidden_act="silu", max_position_embeddings=128000,
            rms_norm_eps=1e-6, rope_theta=5e5, tie_word_embeddings=False,
        )
    }  # fmt: skip

    @classmethod
    def watcher(cls, cfg: Settings, files: Mapping[str, Any]) -> Watcher:
        return Watcher(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return rename(super().checkpoint(cfg, tensors), NAMES)
