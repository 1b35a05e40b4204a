"""Matrices a few rows at a time, so that the temporaries of a quantizer stay in a cache."""

from collections.abc import Callable

import torch
from torch import Tensor

NUMBERS = 1 << 16  # of one strip


def strips(x: Tensor, fn: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Floats [..., N, K] -> the results [..., N, any] of `fn` on float32 rows [n, K], joined."""
    rows = x.reshape(-1, x.shape[-1])
    parts = [fn(strip.float()) for strip in rows.split(max(1, NUMBERS // x.shape[-1]))]
    return tuple(torch.cat(part).view(*x.shape[:-1], -1) for part in zip(*parts, strict=True))
