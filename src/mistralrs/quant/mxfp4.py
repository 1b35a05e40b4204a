"""MXFP4 (Open Compute microscaling formats 1.0): 32 numbers of 4 bits share a scale, a power of two."""

import torch
from torch import Tensor

from mistralrs.kernels.coded import MAGNITUDES, Codes, pack, unpack
from mistralrs.quant.coded import Coded
from mistralrs.quant.strips import strips

GROUP = 32
MIDDLES = torch.tensor([(a + b) / 2 for a, b in zip(MAGNITUDES, MAGNITUDES[1:], strict=False)])


def packed(blocks: Tensor, scales: Tensor) -> Coded:
    """blocks uint8 [..., N, K / 32, 16] and scales uint8 [..., N, K / 32] of the hub, kept as they are."""
    powers = scales.contiguous().view(torch.float8_e8m0fnu)
    return Coded("MXFP4", Codes("e2m1", 4, blocks.flatten(-2).contiguous(), powers, None, GROUP))


def rows(blocks: Tensor, scales: Tensor) -> Tensor:
    """The same as rows uint8 [..., N, 17 K / 32]: a row's codes, then its scales."""
    return torch.cat((blocks.flatten(-2), scales), -1)


def of_rows(raw: Tensor) -> Coded:
    """Rows uint8 [..., N, bytes] as `rows` makes them."""
    count = raw.shape[-1] // 17
    return packed(raw[..., : 16 * count].unflatten(-1, (count, 16)), raw[..., 16 * count :])


def of_ggml(raw: Tensor) -> Coded:
    """Rows of ggml's blocks uint8 [..., N, 17 K / 32]: a scale, codes 0 to 15 in low and 16 to 31 in high halves."""
    blocks = raw.unflatten(-1, (-1, 17))
    codes = torch.cat((blocks[..., 1:] & 15, blocks[..., 1:] >> 4), -1)
    return packed(pack(codes, 4), blocks[..., 0])


def to_ggml(w: Coded) -> Tensor:
    """What `of_ggml` was given, byte for byte."""
    codes = unpack(w.codes.codes, 4).unflatten(-1, (-1, 2, 16))
    scales = w.codes.scales.view(torch.uint8)[..., None]
    return torch.cat((scales, codes[..., 0, :] | codes[..., 1, :] << 4), -1).flatten(-2)


def quantize(x: Tensor) -> Coded:
    """Floats [..., N, K] -> the nearest codes; of two scales, the one of the smaller squared error. 32 divides K."""
    blocks, scales = strips(x, coded)
    return packed(blocks.unflatten(-1, (-1, 16)), scales)


def coded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """rows [n, K] -> packed codes and scales."""
    groups = rows.unflatten(-1, (-1, GROUP))
    most = groups.abs().amax(-1, keepdim=True)
    # The largest number is between 4 and 8 scales, or between 2 and 4 with the next one.
    power = (torch.frexp(most).exponent - 3).clamp(-126, 125)
    (near, low), (far, high) = (nearest(groups, power + more) for more in (0, 1))
    better = 4 * far < near
    codes, power = torch.where(better, high, low), torch.where(better, power + 1, power)
    power = power.where(most > 0, torch.tensor(-127)).where(most.isfinite(), torch.tensor(128))
    return pack(codes, 4).flatten(-2), (power.squeeze(-1) + 127).byte()


def nearest(groups: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Groups [..., 32] over 2^power [..., 1] -> their squared error [..., 1] and codes uint8 [..., 32]."""
    scaled = torch.ldexp(groups, -power)
    size = torch.bucketize(scaled.abs(), MIDDLES)
    error = (scaled.abs() - torch.tensor(MAGNITUDES)[size]).square_()
    return error.sum(-1, keepdim=True), (size + 8 * ((scaled < 0) & (size > 0))).byte()
