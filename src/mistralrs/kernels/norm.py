"""Root-mean-square norm and layer norm over the last dimension, computed in float32."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mistralrs.kernels import native


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """x [..., D], weight [D] -> x / sqrt(mean(x^2) + eps) * (offset + weight). Zhang, Sennrich 2019."""
    return native.first(RMS_NORM, x, weight, eps, offset)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """x [..., D], weight, bias [D] -> (x - mean) / sqrt(variance + eps) * weight + bias. Ba 2016."""
    return native.first(LAYER_NORM, x, weight, bias, eps)


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
    """In torch, in float32 until the result."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * (offset + weight.float())).to(x.dtype)


def layer_norm_reference(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """In torch, in float32 until the result."""
    bias = None if bias is None else bias.float()
    return F.layer_norm(x.float(), weight.shape, weight.float(), bias, eps).to(x.dtype)


def rms_norm_cpu(x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor | None:
    """Compiled."""
    return norm(False, x, weight, None, eps, offset)


def layer_norm_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor | None:
    """Compiled; wants the bias in the dtype of the weight."""
    if bias is not None and bias.dtype is not weight.dtype:
        return None
    return norm(True, x, weight, bias, eps, 0.0)


def norm(
    centered: bool, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, offset: float
) -> Tensor | None:
    """The call that both norms share: None where the compiled kernel does not apply."""
    if not native.ready(x) or weight.dtype not in native.TYPES:
        return None
    x, heads, row, head = native.rows(x)
    y = torch.empty(x.shape)
    width = x.shape[-1]
    native.ops.norm(
        centered, x.data_ptr(), y.data_ptr(), weight.data_ptr(), native.address(bias),
        native.TYPES[weight.dtype], x.numel() // (width * heads), heads, width, row, head, eps, offset,
    )  # fmt: skip
    return y


RMS_NORM = (rms_norm_cpu, rms_norm_reference)
LAYER_NORM = (layer_norm_cpu, layer_norm_reference)
