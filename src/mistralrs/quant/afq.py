"""AFQ: unsigned integers with a float16 scale and bias for 64 neighbors, packed as MLX's affine mode packs them.

w = scale * code + bias. Definition: ml-explore.github.io/mlx, mlx.core.quantize, mode "affine".
"""

import torch
from torch import Tensor

from mistralrs.kernels.coded import Codes, pack
from mistralrs.quant.coded import Coded

GROUP = 64


def quantize(x: Tensor, bits: int) -> Coded:
    """Floats [..., N, K] -> codes between the least and the largest number of each group; 64 divides K."""
    groups = x.float().unflatten(-1, (-1, GROUP))
    low, high = groups.aminmax(dim=-1)
    scale, bias = half((high - low) / (2**bits - 1)), half(low)
    step = scale.float().where(scale > 0, torch.ones(()))
    # The rounded bias may lie above the least number; the code of such a number is then 0.
    codes = groups.sub(bias.float()[..., None]).div_(step[..., None]).round_()
    codes = codes.clamp_(0, 2**bits - 1).byte().flatten(-2)
    return Coded(f"AFQ{bits}", Codes("shifted", bits, pack(codes, bits), scale, bias, GROUP))


def half(x: Tensor) -> Tensor:
    """Float16, with the largest number for what lies beyond it."""
    most = torch.finfo(torch.float16).max
    return x.clamp(-most, most).half()
