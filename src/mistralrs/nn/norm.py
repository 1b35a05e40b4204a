"""Normalization layers."""

from torch import Tensor, nn

from mistralrs.kernels.norm import layer_norm, rms_norm
from mistralrs.nn.linear import empty


class RMSNorm(nn.Module):
    """x / rms(x) * (offset + weight); Gemma stores weight - 1 and sets offset to 1."""

    def __init__(self, dim: int, eps: float = 1e-6, offset: float = 0.0):
        super().__init__()
        self.weight, self.eps, self.offset = empty(dim), eps, offset

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return rms_norm(x, self.weight, self.eps, self.offset)


class LayerNorm(nn.Module):
    """(x - mean) / deviation * weight + bias."""

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True):
        super().__init__()
        self.weight, self.eps = empty(dim), eps
        self.register_parameter("bias", empty(dim) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return layer_norm(x, self.weight, self.bias, self.eps)
