"""Weights of short codes with a scale for each group: MXFP4, FP8, HQQ, AFQ and the like."""

from typing import ClassVar

import torch
from torch import Tensor

from mistralrs.kernels import coded as kernel
from mistralrs.kernels.coded import Codes
from mistralrs.quant.weight import Weight


class Coded(Weight):
    """A matrix [N, K] or a stack [E, N, K] in one of the forms of `kernels.coded.Codes`."""

    name: ClassVar[str] = "coded"

    def __init__(self, format: str, codes: Codes):
        self.format, self.codes = format, codes
        self.shape, self.nbytes = codes.shape, codes.nbytes
        self.bits = 8 * self.nbytes / max(1, torch.Size(self.shape).numel())

    def dequantize(self) -> Tensor:
        """The matrix as float32."""
        if len(self.shape) == 2:
            return kernel.decode(self.codes)
        return torch.stack([kernel.decode(self.codes.of(i)) for i in range(self.shape[0])])

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] in x's dtype."""
        return kernel.coded(x, self.codes, bias)

    def product(self, x: Tensor, index: int) -> Tensor:
        """x [M, K] times one matrix of a stack -> [M, N] in x's dtype."""
        return kernel.coded(x, self.codes.of(index))

    def gather(self, x: Tensor, ids: Tensor) -> Tensor:
        """x [M, K] -> [M, N]: row m times matrix `ids[m]` of a stack, in x's dtype."""
        return kernel.gather(x, self.codes, ids)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of an embedding table: ids [T] -> [T, K]; only these rows are read."""
        return kernel.decode(self.codes, ids).to(dtype)
