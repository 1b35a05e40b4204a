"""Gated linear units: an activation of one half times the other (Shazeer 2020)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from mistralrs.kernels import native

ACTS: dict[str, Callable[[Tensor], Tensor]] = {  # in the order of enum Act in cpu/table.h
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}
NUMBERS = {name: number for number, name in enumerate(ACTS)}


def glu(gate: Tensor, up: Tensor, act: str) -> Tensor:
    """gate, up [T, F] -> act(gate) * up [T, F]; act is a name of ACTS."""
    return native.first(GLU, gate, up, act)


def activate(x: Tensor, act: str) -> Tensor:
    """x [T, F] -> act(x) [T, F]: a unit whose gates are all open."""
    return glu(x, x.new_ones(1, x.shape[1]).expand_as(x), act)


def glu_reference(gate: Tensor, up: Tensor, act: str) -> Tensor:
    """In torch, in the dtype of the inputs."""
    return ACTS[act](gate) * up


def glu_cpu(gate: Tensor, up: Tensor, act: str) -> Tensor | None:
    """Compiled; reads the two halves of a fused projection in place."""
    if not native.ready(gate) or up.dtype is not gate.dtype or gate.dim() != 2:
        return None
    if gate.stride(1) != 1 or up.stride(1) != 1:
        gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty(gate.shape)
    native.ops.glu(
        gate.data_ptr(),
        up.data_ptr(),
        y.data_ptr(),
        *gate.shape,
        gate.stride(0),
        up.stride(0),
        NUMBERS[act],
    )
    return y


GLU = (glu_cpu, glu_reference)
