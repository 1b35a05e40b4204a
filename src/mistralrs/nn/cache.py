"""Caches. Paged grows with the sequence; State has a fixed size per sequence. There is no third kind."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.kernels.attention import attention, write
from mistralrs.nn.batch import Batch


class Paged(nn.Module):
    """Pages of keys and values of `heads` heads. MLA is one head whose values are the front of its keys (`shared`)."""

    def __init__(self, heads: int, k_dim: int, v_dim: int, shared: bool = False):
        super().__init__()
        self.heads, self.k_dim, self.v_dim, self.shared = heads, k_dim, v_dim, shared

    @property
    def width(self) -> int:
        """Cached numbers per token."""
        return self.heads * (self.k_dim + (0 if self.shared else self.v_dim))

    def allocate(self, pages: int, size: int, device: torch.device, dtype: torch.dtype) -> None:
        """Reserve `pages` pages of `size` tokens; on Linux the system commits them when first written."""
        shape = (pages, self.heads, size)
        self.k = torch.empty(*shape, self.k_dim, device=device, dtype=dtype)
        self.v = (
            self.k[..., : self.v_dim]
            if self.shared
            else torch.empty(*shape, self.v_dim, device=device, dtype=dtype)
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor | None, batch: Batch, **rule: Any) -> Tensor:
        """Append k, v [T, KV, D] (no v where it is shared) and attend causally: q [T, H, Dk] -> [T, H, Dv]."""
        write(k, None if self.shared else v, self.k, self.v, batch)
        out = attention(q, self.k, self.v, batch, **rule)
        for span in batch.joined:  # as sequences of their own, they are just not causal
            rows = q[span.first : span.end]
            rule["causal"] = False
            out[span.first : span.end] = attention(rows, self.k, self.v, span, **rule)
        return out


class State(nn.Module):
    """Fixed-size float32 tensors per sequence: convolution tails and recurrent states, zero when it starts."""

    def __init__(self, **shapes: tuple[int, ...]):
        super().__init__()
        self.shapes = shapes
        self.data: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        """Numbers per sequence."""
        return sum(prod(shape) for shape in self.shapes.values())

    def allocate(self, slots: int, device: torch.device) -> None:
        """Reserve the states of `slots` sequences."""
        self.data = {k: torch.zeros(slots, *s, device=device) for k, s in self.shapes.items()}
