"""Causal convolution of every channel on its own, over sequences that come in pieces."""

import torch
from torch import Tensor

from mistralrs.kernels import native
from mistralrs.kernels.glu import activate
from mistralrs.kernels.slots import Slotted, index, read, write


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tails: Tensor,
    batch: Slotted,
    act: str | None = None,
) -> Tensor:
    """x [T, C], weight [C, taps], bias [C] -> [T, C], activated if so wanted (a name of `glu.ACTS`).

    A row is made of itself and the `taps - 1` rows of its sequence before it; the last ones of a step wait in
    tails [slots, taps - 1, C].
    """
    return native.first(CONV, x, weight, bias, tails, batch, act)


def conv_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tails: Tensor,
    batch: Slotted,
    act: str | None,
) -> Tensor:
    """In torch: all sequences in one line, each behind its tail."""
    past = weight.shape[1] - 1
    rows, before, after = layout(batch, past, x.device)
    line = x.new_empty(len(x) + before.numel(), x.shape[1])
    line[rows] = x
    line[before] = read(tails, batch).to(x.dtype)
    write(tails, batch, line[after])
    y = line[rows] * weight[:, -1]
    for back in range(1, past + 1):
        y = y + line[rows - back] * weight[:, -1 - back]
    y = y if bias is None else y + bias
    return y if act is None else activate(y, act)


def layout(batch: Slotted, past: int, device: torch.device) -> tuple[Tensor, ...]:
    """Where all sequences lie in one line: their rows [T], the old tails and the new ones [B, past]."""
    key = ("conv", past)
    if key not in batch.memo:
        starts = batch.starts.long()
        shift = past * torch.arange(len(starts) - 1)
        tail, counts = torch.arange(past), starts[1:] - starts[:-1]
        rows = torch.arange(int(starts[-1])) + (shift + past).repeat_interleave(counts)
        ends = ((x + shift)[:, None] + tail for x in (starts[:-1], starts[1:]))
        batch.memo[key] = tuple(place.to(device) for place in (rows, *ends))
    places: tuple[Tensor, ...] = batch.memo[key]
    return places


def conv_cpu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tails: Tensor,
    batch: Slotted,
    act: str | None,
) -> Tensor | None:
    """Compiled: tails in place; wants the bias in the dtype of the weight, and no other activation than silu."""
    if not native.ready(x) or not native.ready(tails) or weight.dtype not in native.TYPES:
        return None
    if act not in (None, "silu") or (bias is not None and bias.dtype is not weight.dtype):
        return None
    x = x if x.stride(1) == 1 else x.contiguous()
    weight, y = weight.contiguous(), torch.empty(x.shape)
    native.ops.conv(
        x.data_ptr(), y.data_ptr(), weight.data_ptr(), native.address(bias), tails.data_ptr(),
        index(batch), native.TYPES[weight.dtype], *weight.shape, x.stride(0), act == "silu",
    )  # fmt: skip
    return y


CONV = (conv_cpu, conv_reference)
