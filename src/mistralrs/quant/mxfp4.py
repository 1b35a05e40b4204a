"""MXFP4 (Open Compute microscaling formats 1.0): 32 numbers of 4 bits share a scale, a power of two."""

import torch
from torch import Tensor

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)], dtype=torch.bfloat16)  # by code
BYTES = torch.arange(256)
PAIRS = torch.stack((NUMBERS[BYTES & 15], NUMBERS[BYTES >> 4]), -1)  # the low half comes first


def unpack(blocks: Tensor, scales: Tensor) -> Tensor:
    """blocks uint8 [E, N, K / 32, 16], scales uint8 [E, N, K / 32] -> bfloat16 [E, N, K], which is exact."""
    out = torch.empty(*scales.shape, 32, dtype=torch.bfloat16)
    for matrix, block, scale in zip(out, blocks, scales, strict=True):  # the indices take memory
        powers = scale.contiguous().view(torch.float8_e8m0fnu).bfloat16()
        torch.mul(PAIRS[block.int()].flatten(-2), powers[..., None], out=matrix)
    return out.flatten(-2)
