"""Qwen 2.5 VL: Qwen 2 VL whose patches mostly see only a window of the picture, and which knows how fast films are."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mistralrs.models import qwen2_vl
from mistralrs.nn.decoder import Settings
from mistralrs.nn.film import Film
from mistralrs.nn.linear import Linear
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with RMS norms and a gated MLP."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.norm1, self.norm2 = RMSNorm(dim, 1e-6), RMSNorm(dim, 1e-6)
        self.attn = qwen2_vl.Attention(dim, cfg.num_heads)
        self.mlp = GatedMLP(dim, cfg.intermediate_size, cfg.hidden_act, bias=True)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], spans: Sequence[int]) -> Tensor:
        """x [P, D] -> [P, D]."""
        x = x + self.attn(self.norm1(x), turn, spans)
        return x + self.mlp(self.norm2(x))


def windows(grid: Sequence[int], side: int) -> tuple[Tensor, list[int]]:
    """The order [rows] that puts the rows of each window together, and how many each has."""
    t, y, x = torch.meshgrid(*map(torch.arange, grid[:3]), indexing="ij")
    across = -(-grid[2] // side)
    number = (t * grid[1] + y // side) * across + x // side
    counts = number.flatten().unique(return_counts=True)[1]
    return number.flatten().argsort(stable=True), counts.tolist()


class Visual(nn.Module):
    """The vision tower; a few of its blocks see the whole picture."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.merge = cfg.hidden_size, cfg.spatial_merge_size
        self.head_dim, self.full = dim // cfg.num_heads, set(cfg.fullatt_block_indexes)
        self.side = cfg.window_size // cfg.spatial_merge_size // cfg.patch_size
        self.patch_embed = Linear(
            cfg.in_channels * cfg.temporal_patch_size * cfg.patch_size**2, dim
        )
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.depth))
        self.merger = qwen2_vl.Merger(cfg, RMSNorm(dim, 1e-6), dim, cfg.out_hidden_size)

    def forward(self, patches: Tensor, grid: Sequence[int]) -> Tensor:
        """patches [P, K] of one picture -> [rows, D]."""
        order, counts = windows(grid, self.side)
        square = self.merge**2
        turn = qwen2_vl.turns(grid, self.merge, self.head_dim)
        x, cos, sin = (
            one.to(patches.device).unflatten(0, (-1, square))[order].flatten(0, 1)
            for one in (self.patch_embed(patches), *turn)
        )
        spans = [len(x) // grid[0]] * grid[0], [count * square for count in counts]
        for number, block in enumerate(self.blocks):
            x = block(x, (cos, sin), spans[number not in self.full])
        return self.merger(x)[order.argsort()]


class Watcher(qwen2_vl.Watcher):
    """Pictures of a film move along the axis of time by what passes between them."""

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        super().__init__(cfg, files)
        self.speed = cfg.vision_config.tokens_per_second

    def moments(self, film: Film, places: Sequence[int], steps: int) -> list[int]:
        """In float32, as the model was trained with: whole numbers must not fall short of themselves."""
        sampled = film.rate if film.whole else len(places) / film.frames * film.rate
        step = self.speed * torch.tensor(self.frames / sampled, dtype=torch.float32)
        return (torch.arange(steps) * step).long().tolist()


class Qwen2_5VL(qwen2_vl.Qwen2VL):
    Visual = Visual
    defaults: ClassVar[dict[str, Any]] = dict(
        vision_config=dict(
            depth=32, hidden_size=1280, intermediate_size=3420, out_hidden_size=3584, num_heads=16, patch_size=14,
            in_channels=3, spatial_merge_size=2, temporal_patch_size=2, hidden_act="silu", window_size=112,
            fullatt_block_indexes=(7, 15, 23, 31), tokens_per_second=4,
        )
    )  # fmt: skip

    @classmethod
    def watcher(cls, cfg: Settings, files: Mapping[str, Any]) -> Watcher:
        return Watcher(cfg, files)
