"""Unquantized weights: a float tensor used as it lies in the file."""

from typing import ClassVar

import torch
from torch import Tensor

from mistralrs.kernels.gather import gather
from mistralrs.kernels.linear import linear
from mistralrs.quant.weight import Weight


class Plain(Weight):
    """A float tensor [N, K] or [E, N, K], as a rule a view of a mapped file, in its own dtype."""

    name: ClassVar[str] = "plain"

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.shape, self.nbytes = tuple(tensor.shape), tensor.nbytes
        self.bits, self.format = 8.0 * tensor.itemsize, str(tensor.dtype).removeprefix("torch.")

    def dequantize(self) -> Tensor:
        """The tensor as float32."""
        return self.tensor.float()

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] in x's dtype."""
        return linear(x, self.tensor, bias)

    def product(self, x: Tensor, index: int) -> Tensor:
        """x [M, K] times one matrix of a stack -> [M, N] in x's dtype."""
        return linear(x, self.tensor[index])

    def gather(self, x: Tensor, ids: Tensor) -> Tensor:
        """x [M, K] -> [M, N]: row m times matrix `ids[m]` of a stack, in x's dtype."""
        return gather(x, self.tensor, ids)

    def each(self, x: Tensor) -> Tensor:
        """x [T, E, K] -> [T, E, N]: every matrix of a stack times its own column of x, in x's dtype."""
        if x.is_cpu:  # where the result of a row must not depend on the number of rows
            return super().each(x)
        return torch.einsum("tek,enk->ten", x, self.tensor.to(x.dtype))

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of an embedding table: ids [T] -> [T, K]; only these rows are read."""
        return self.tensor[ids].to(dtype)
