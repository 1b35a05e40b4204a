"""AFQ: unsigned integers with a float16 scale and bias for 64 neighbors, packed as MLX's affine mode packs them.

w = scale * code + bias. Definition: ml-explore.github.io/mlx, mlx.core.quantize, mode "affine".
"""

from functools import partial

import torch
from torch import Tensor

from mistralrs.kernels.coded import Codes, pack
from mistralrs.quant.coded import Coded
from mistralrs.quant.strips import strips

GROUP = 64
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of the range of a group that the codes are first laid over


def quantize(x: Tensor, bits: int) -> Coded:
    """Floats [..., N, K] -> the grid of the least squared error among a few for each group; 64 divides K."""
    codes, scales, zeros = strips(x, partial(coded, bits=bits))
    return Coded(f"AFQ{bits}", Codes("shifted", bits, codes, scales, zeros, GROUP))


def coded(rows: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """rows [n, K] -> packed codes, scales and biases."""
    groups, most = rows.unflatten(-1, (-1, GROUP)), 2**bits - 1
    low, high = groups.aminmax(dim=-1, keepdim=True)
    best = torch.full_like(low, float("inf"))
    scale, bias = half((high - low) / most), half(low)
    for share in SHARES if bits <= 4 else SHARES[:1]:
        step = (high - low) / most * share
        edge = (low + high) / 2 - step * most / 2
        for grid in ((half(step), half(edge)), regressed(groups, step, edge, most)):
            error = errors(groups, *grid, most)
            better = error < best
            best = torch.where(better, error, best)
            scale, bias = (
                torch.where(better, n, o) for n, o in zip(grid, (scale, bias), strict=True)
            )
    codes = nearest(groups, scale.float(), bias.float(), most).byte().flatten(-2)
    return pack(codes, bits), scale.squeeze(-1), bias.squeeze(-1)


def nearest(groups: Tensor, scale: Tensor, bias: Tensor, most: int) -> Tensor:
    """The codes [..., 64] of a grid, as floats."""
    step = torch.where(scale > 0, scale, torch.ones(()))
    return groups.sub(bias).div_(step).round_().clamp_(0, most)


def errors(groups: Tensor, scale: Tensor, bias: Tensor, most: int) -> Tensor:
    """The squared error [..., 1] of a grid in float16."""
    scale, bias = scale.float(), bias.float()
    off = nearest(groups, scale, bias, most).mul_(scale).add_(bias).sub_(groups)
    return off.square_().sum(-1, keepdim=True)


def regressed(groups: Tensor, scale: Tensor, bias: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The scale and bias that fit the codes of a grid best, by linear regression."""
    codes = nearest(groups, scale, bias, most)
    middle, center = codes.mean(-1, keepdim=True), groups.mean(-1, keepdim=True)
    spread = (codes - middle).square().sum(-1, keepdim=True)
    slope = ((codes - middle) * (groups - center)).sum(-1, keepdim=True) / spread.clamp(min=1e-9)
    slope = half(slope.clamp(min=0))
    return slope, half(center - slope.float() * middle)


def half(x: Tensor) -> Tensor:
    """Float16, with the largest number for what lies beyond it."""
    most = torch.finfo(torch.float16).max
    return x.clamp(-most, most).half()
