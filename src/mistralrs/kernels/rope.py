"""Rotary position embedding (Su et al. 2021) of the first features of each head."""

import torch
from torch import Tensor

from mistralrs.kernels import native


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """x [T, H, D], cos, sin [T, R / 2] -> [T, H, D] with the first R features turned.

    Feature i turns with i + R / 2, or with its neighbour where the pairs are `interleaved`.
    """
    return native.first(ROPE, x, cos, sin, interleaved)


def rope_reference(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """In torch, in x's dtype."""
    half = cos.shape[-1]
    cos, sin = cos.to(x.dtype)[:, None], sin.to(x.dtype)[:, None]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    a, b = turned.unflatten(-1, (half, 2)).unbind(-1) if interleaved else turned.chunk(2, -1)
    pair = a * cos - b * sin, b * cos + a * sin
    turned = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat((turned, rest), -1)


def rope_cpu(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor | None:
    """Compiled; wants dense angles in float32."""
    if not native.ready(x) or cos.dtype is not torch.float32 or cos.stride() != sin.stride():
        return None
    if x.stride(2) != 1:
        x = x.contiguous()
    if cos.stride(1) != 1:
        cos, sin = cos.contiguous(), sin.contiguous()
    y = torch.empty(x.shape)
    native.ops.rope(
        x.data_ptr(), y.data_ptr(), cos.data_ptr(), sin.data_ptr(), *x.shape, cos.shape[1],
        x.stride(0), x.stride(1), cos.stride(0), interleaved,
    )  # fmt: skip
    return y


ROPE = (rope_cpu, rope_reference)
