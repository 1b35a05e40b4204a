"""From the states of a text's tokens to one vector: the modules of sentence-transformers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.linear import Linear


def weighted_mean(x: Tensor) -> Tensor:
    """The mean of x [n, D] in which the i-th token counts i times (SGPT, arXiv 2202.08904): [D]."""
    weight = torch.arange(1, len(x) + 1, device=x.device, dtype=x.dtype)[:, None]
    return (x * weight).sum(0) / weight.sum()


# One text's states [n, D] -> [D].
POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda x: x[0],
    "max": lambda x: x.amax(0),
    "mean": lambda x: x.mean(0),
    "mean_sqrt_len_tokens": lambda x: x.sum(0) / len(x) ** 0.5,
    "weightedmean": weighted_mean,
    "lasttoken": lambda x: x[-1],
}

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": F.gelu,
    "Sigmoid": torch.sigmoid,
    "SiLU": F.silu,
}


class Dense(nn.Module):
    """act(x W^T + b)."""

    def __init__(self, inputs: int, outputs: int, bias: bool, act: str):
        super().__init__()
        self.linear, self.act = Linear(inputs, outputs, bias), ACTIVATIONS[act]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, K] -> [B, N]."""
        return self.act(self.linear(x))


class Normalize(nn.Module):
    """x / |x|."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, D] -> [B, D]."""
        return F.normalize(x, dim=-1)


class Embedder(nn.Module):
    """A decoder without its head, poolings side by side, and what a checkpoint puts after them."""

    def __init__(self, decoder: Decoder, poolings: Sequence[str], tail: Sequence[nn.Module]):
        super().__init__()
        self.decoder, self.tail = decoder, nn.ModuleList(tail)
        self.poolings = [POOLINGS[name] for name in poolings]

    def forward(self, batch: Batch) -> Tensor:
        """One vector [B, D] for each sequence, whose tokens are all in this batch."""
        every = torch.arange(len(batch.tokens), device=batch.tokens.device)
        states = self.decoder.states(replace(batch, outputs=every)).float()
        x = torch.stack([self.pool(states[start:end]) for _, start, end in batch.spans()])
        for module in self.tail:
            x = module(x)
        return x

    def pool(self, states: Tensor) -> Tensor:
        """states [n, D] -> [poolings * D]."""
        return torch.cat([pooling(states) for pooling in self.poolings])
