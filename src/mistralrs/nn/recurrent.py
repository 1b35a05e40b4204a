"""Layers with a memory of fixed size: short convolutions and linear recurrences.

Both read what their sequence left behind, compute its tokens in order and leave the rest for the next step. Every
number is summed in an order that depends on neither the step's size nor the other sequences, so that a prompt cut
into chunks gives the same bits as one computed whole.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.cache import State
from mistralrs.nn.linear import empty


class Conv(nn.Module):
    """A causal convolution of every channel with its own `taps` weights, in the layout of `nn.Conv1d`."""

    def __init__(self, channels: int, taps: int, bias: bool = False):
        super().__init__()
        self.weight = empty(channels, 1, taps)
        self.bias = empty(channels) if bias else None
        self.past = taps - 1
        self.cache = State(tail=(self.past, channels))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, C] -> [T, C]: each row from itself and the `taps - 1` rows of its sequence before it."""
        rows, before, after = self.layout(batch)
        line = x.new_empty(len(x) + before.numel(), x.shape[1])
        line[rows] = x
        line[before] = self.cache.read("tail", batch).to(x.dtype)
        self.cache.write("tail", batch, line[after].float())
        y = line[rows] * self.weight[:, 0, -1]
        for back in range(1, self.past + 1):
            y = y + line[rows - back] * self.weight[:, 0, -1 - back]
        return y if self.bias is None else y + self.bias

    def layout(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Where all sequences lie in one line, each behind its tail: rows [T], old tails and new tails [B, past]."""
        key = ("conv", self.past)
        if key not in batch.memo:
            starts = batch.starts.long()
            shift = self.past * torch.arange(len(starts) - 1)
            tail = torch.arange(self.past)
            counts = starts[1:] - starts[:-1]
            rows = torch.arange(int(starts[-1])) + (shift + self.past).repeat_interleave(counts)
            places = rows, (starts[:-1] + shift)[:, None] + tail, (starts[1:] + shift)[:, None] + tail
            batch.memo[key] = tuple(place.to(batch.tokens.device) for place in places)
        return batch.memo[key]


class Recurrence(nn.Module):
    """A state [K, V] per head that decays, takes in a key and a value with each token, and answers a query.

    S <- decay S + k u^T and out = S^T q, where u is the value itself (Mamba 2, arXiv 2405.21060) or, with `beta`,
    the part of it that S did not know yet: u = beta (v - S^T k), the gated delta rule (arXiv 2412.06464).
    """

    def __init__(self, heads: int, k_dim: int, v_dim: int):
        super().__init__()
        self.cache = State(state=(heads, k_dim, v_dim))

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, batch: Batch, beta: Tensor | None = None
    ) -> Tensor:
        """q, k [T, H, K], v [T, H, V], decay and beta [T, H] -> [T, H, V], computed in float32."""
        q, k = q.float()[..., None], k.float()[..., None]
        decay, out = decay.float()[..., None, None], torch.empty_like(v, dtype=torch.float32)
        order, waves = march(batch)
        states = self.cache.read("state", batch)[order]
        for rows in waves:
            state = states[: len(rows)].mul_(decay[rows])
            value = v[rows].float()
            if beta is not None:
                value = (value - (state * k[rows]).sum(-2)) * beta[rows, :, None].float()
            state += k[rows] * value[..., None, :]
            out[rows] = (state * q[rows]).sum(-2)
        self.cache.write("state", batch, states[order.argsort()])
        return out.to(v.dtype)


def march(batch: Batch) -> tuple[Tensor, Iterator[Tensor]]:
    """All sequences advance together: their order, longest first, and the rows of the first, second ... token.

    A wave has one row of each sequence that is long enough, in that order.
    """
    starts, device = batch.starts.long(), batch.tokens.device
    counts = starts[1:] - starts[:-1]
    order = counts.argsort(descending=True, stable=True)
    first, counts = starts[order].to(device), counts[order]
    sizes = ((counts > step).sum() for step in range(int(counts[0])))
    return order.to(device), (first[:size] + step for step, size in enumerate(sizes))
