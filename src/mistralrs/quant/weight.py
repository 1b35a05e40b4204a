"""The Weight contract: one matrix, or a stack of them, in one storage format."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


class Weight(ABC):
    """A matrix [N, K], or a stack [E, N, K]. A new format gives shape, nbytes and dequantize; the rest is inherited."""

    name: ClassVar[str]  # how users and `explain()` call the format
    format: str  # the type of this weight, such as "Q4_K"
    bits: float  # bits per weight, scales included
    block: ClassVar[int] = 1  # K must be a multiple of it

    shape: tuple[int, ...]
    nbytes: int

    @abstractmethod
    def dequantize(self) -> Tensor:
        """The matrix as float32 [N, K] or [E, N, K]."""

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] in x's dtype."""
        return F.linear(x, self.dequantize().to(x.dtype), bias)

    def product(self, x: Tensor, index: int) -> Tensor:
        """x [M, K] times one matrix of a stack -> [M, N] in x's dtype."""
        return F.linear(x, self.dequantize()[index].to(x.dtype))

    def gather(self, x: Tensor, ids: Tensor) -> Tensor:
        """x [M, K] -> [M, N]: row m times matrix `ids[m]` of a stack, in x's dtype."""
        out = x.new_empty(len(x), self.shape[1])
        for index in ids.unique().tolist():
            rows = (ids == index).nonzero()[:, 0]
            out[rows] = self.product(x[rows], index)
        return out

    def each(self, x: Tensor) -> Tensor:
        """x [T, E, K] -> [T, E, N]: every matrix of a stack times its own column of x, in x's dtype."""
        return torch.stack([self.product(x[:, e], e) for e in range(self.shape[0])], 1)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of an embedding table: ids [T] -> [T, K]."""
        return self.dequantize()[ids].to(dtype)
