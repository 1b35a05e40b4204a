"""HQQ, half-quadratic quantization: zero points by a robust fit (Badri and Shaji 2023, mobiusml.github.io/hqq_blog).

w = (code - zero) * scale. Groups are 64 neighbors of a row, axis 1 of the library: with axis 0 an output would need the
scales of other rows.
"""

from functools import partial

import torch
from torch import Tensor

from mistralrs.kernels.coded import Codes, pack
from mistralrs.quant.afq import GROUP, half
from mistralrs.quant.coded import Coded
from mistralrs.quant.strips import strips

STEPS, NORM, BETA, GROWTH = 10, 0.7, 10.0, 1.01  # the paper's
STEEPEST = 2e4  # limit of 1 / scale


def quantize(x: Tensor, bits: int) -> Coded:
    """Floats [..., N, K] -> codes with the zero points that fit best; 64 divides K."""
    codes, scales, zeros = strips(x, partial(coded, bits=bits))
    return Coded(f"HQQ{bits}", Codes("centered", bits, codes, scales, zeros, GROUP))


def coded(rows: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """rows [n, K] -> packed codes, scales and zeros."""
    groups = rows.unflatten(-1, (-1, GROUP))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    low, high = low.clamp(max=0), high.clamp(min=0)  # so that a zero is a code, and fits in float16
    most = 2**bits - 1
    steep = (most / (high - low)).clamp(max=STEEPEST)  # infinite for a group of zeros
    scale = half(1 / steep)
    steep = 1 / scale.float()
    zero = half(fit(groups, steep, -low * steep, most))
    codes = (groups * steep + zero.float()).round_().clamp_(0, most).byte().flatten(-2)
    return pack(codes, bits), scale.squeeze(-1), zero.squeeze(-1)


def fit(w: Tensor, steep: Tensor, zero: Tensor, most: int) -> Tensor:
    """Groups [..., 64] and their zeros [..., 1] -> zeros of a smaller error in the norm |.|^0.7, by proximal steps.

    The zero of the least mean error of each group is kept.
    """
    beta, kept, best = BETA, zero, torch.full_like(zero, float("inf"))
    for _ in range(STEPS):
        codes = (w * steep).add_(zero).round_().clamp_(0, most)
        off = w - (codes - zero) / steep
        size = off.abs()
        error = size.mean(-1, keepdim=True)
        kept, best = torch.where(error < best, zero, kept), torch.minimum(error, best)
        shrunk = size.pow(NORM - 1).div_(-beta).add_(size).relu_().copysign_(off)
        zero = (codes - (w - shrunk) * steep).mean(-1, keepdim=True)
        beta *= GROWTH
    return kept
