"""FP8 (E4M3): one scale for a matrix, or one for every square of numbers, as DeepSeek V3 FP8 is published."""

import torch
from torch import Tensor

from mistralrs.kernels.coded import Codes
from mistralrs.quant.coded import Coded

MOST = 448.0  # the largest number of E4M3


def quantize(x: Tensor) -> Coded:
    """Floats [..., N, K] -> codes that use the whole range of E4M3, with one scale for a matrix."""
    x = x.float()
    most = x.abs().amax((-2, -1), keepdim=True)
    scales = torch.where(most == 0, torch.ones(()), most / MOST)
    codes = (x / scales).clamp_(-MOST, MOST).to(torch.float8_e4m3fn)
    return packed(codes, scales, x.shape[-2:])


def packed(codes: Tensor, scales: Tensor, block: tuple[int, ...]) -> Coded:
    """codes float8 [..., N, K], scales [..., ceil(N / block[0]), ceil(K / block[1])], both kept as they are."""
    rows, columns = block
    return Coded("FP8", Codes("e4m3", 8, codes.view(torch.uint8), scales, None, columns, rows))


def of_rows(raw: Tensor, width: int, columns: int, dtype: torch.dtype) -> Coded:
    """Rows uint8 [..., N, bytes] as `rows` makes them."""
    scales = raw[..., width:].clone(memory_format=torch.contiguous_format).view(dtype)  # aligned
    return packed(raw[..., :width].contiguous(), scales, (1, columns))


def rows(codes: Tensor, scales: Tensor, block: tuple[int, int]) -> Tensor:
    """codes float8 [N, K], scales [ceil(N / block[0]), ceil(K / block[1])] -> uint8 [N, bytes]: a row's codes, then
    its scales, so that rows can be cut, moved and joined."""
    spread = scales.repeat_interleave(block[0], 0)[: len(codes)].contiguous()
    return torch.cat((codes.view(torch.uint8), spread.view(torch.uint8)), 1)
