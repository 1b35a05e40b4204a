"""Signed bytes: F8Q8, 32 of them with an E4M3 scale in 448ths, and ggml's Q8_K, 256 with a float32 scale."""

import torch
from torch import Tensor

from mistralrs.kernels.coded import Codes
from mistralrs.quant.coded import Coded


def f8q8(x: Tensor) -> Coded:
    """Floats [..., N, K] -> bytes; 32 divides K. Numbers beyond 127 are cut."""
    groups = x.float().unflatten(-1, (-1, 32))
    wanted = (groups.abs().amax(-1) / 127 * 448).clamp(max=448)
    scales = wanted.to(torch.float8_e4m3fn)
    # The next scale where the nearest one would cut the largest number.
    scales = (scales.view(torch.uint8) + (scales.float() < wanted)).view(torch.float8_e4m3fn)
    return signed("F8Q8", groups, scales, scales.float() / 448)


def q8_k(x: Tensor) -> Coded:
    """Floats [..., N, K] -> bytes as ggml makes them: the number farthest from zero becomes -127. 256 divides K."""
    groups = x.float().unflatten(-1, (-1, 256))
    at = groups.abs().argmax(-1, keepdim=True)
    scales = groups.gather(-1, at).squeeze(-1) / -127
    return signed("Q8_K", groups, scales, scales)


def signed(format: str, groups: Tensor, scales: Tensor, sizes: Tensor) -> Coded:
    """Groups [..., 32 or 256] over their scales, whose float values are `sizes`."""
    steps = torch.where(sizes == 0, torch.ones(()), sizes)[..., None]
    codes = (groups / steps).round_().clamp_(-127, 127).to(torch.int8)
    parts = codes.flatten(-2).view(torch.uint8), scales
    return Coded(format, Codes("integers", 8, *parts, None, groups.shape[-1]))
