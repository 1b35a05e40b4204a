"""Caches. Paged grows with the sequence; State has a fixed size per sequence; Seen comes with the images."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.api.errors import ConfigError
from mistralrs.kernels.attention import attention, write
from mistralrs.nn.batch import Batch, Joined


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

    def attend(
        self,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        batch: Batch,
        chunk: int | None = None,
        **rule: Any,
    ) -> Tensor:
        """Append k, v [T, KV, D] (no v where it is shared) and attend causally: q [T, H, Dk] -> [T, H, Dv].

        Without k, those of this batch are there already: an earlier layer wrote them. With a `chunk`, sequences
        are cut at its multiples, and each part sees itself only.
        """
        if k is not None:
            write(k, None if self.shared else v, self.k, self.v, batch)
        seen = batch if chunk is None else cut(batch, chunk, self.k.shape[2])
        out = attention(q, self.k, self.v, seen, **rule)
        for span in batch.joined:  # as sequences of their own, they are just not causal
            rows = q[span.first : span.end]
            rule["causal"] = False
            out[span.first : span.end] = attention(rows, self.k, self.v, span, **rule)
        return out


def cut(batch: Batch, chunk: int, page: int) -> Joined:
    """The batch as if every chunk of positions were a sequence of its own; a page never lies in two of them."""
    if chunk % page:
        raise ConfigError(
            f"pa_blk_size={page} does not divide this model's attention chunks of {chunk} tokens: use a power of two"
        )
    if ("cut", chunk) not in batch.memo:
        starts, lengths, pages = [0], [], []
        for index, first, end in batch.spans():
            length = int(batch.lengths[index])
            at = length - (end - first)
            while at < length:
                border = at // chunk * chunk
                stop = min(border + chunk, length)
                starts.append(starts[-1] + stop - at)
                lengths.append(stop - border)
                pages.append(batch.pages[index, border // page :])
                at = stop
        begins, ends = (torch.tensor(v, dtype=torch.int32) for v in (starts, lengths))
        table = nn.utils.rnn.pad_sequence(pages, batch_first=True)
        batch.memo["cut", chunk] = Joined(0, starts[-1], begins, ends, table)
    return batch.memo["cut", chunk]


class Seen(nn.Module):
    """Keys and values of media beside the text. The engine keeps them, as long as a sequence may see them."""

    def __init__(self, layer: int, heads: int, dim: int):
        super().__init__()
        self.layer = layer  # which of those with cross-attention it is
        self.width = heads * 2 * dim  # kept numbers per position of a medium
        self.dtype = torch.float32

    def pack(self, k: Tensor, v: Tensor) -> Tensor:
        """k, v [P, S, KV, D] -> [P, 2, KV, S, D] as they are kept."""
        return torch.stack((k, v), 1).to(self.dtype).transpose(2, 3)

    def attend(self, q: Tensor, batch: Batch, scale: float) -> Tensor:
        """q [n, H, D] of the rows that see something, and only of these -> [n, H, D]."""
        parts = q.split([sight.end - sight.first for sight in batch.sights])
        out = []
        for part, sight in zip(parts, batch.sights, strict=True):
            k, v = sight.states[:, self.layer].unbind(1)
            out.append(attention(part, k, v, sight, scale=scale, causal=False))
        return torch.cat(out)


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
