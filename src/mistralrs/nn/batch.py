"""The one object that travels through a forward pass: a flat, ragged batch of tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Joined:
    """Rows [first, end) of a batch that see each other and everything before them, as attention reads them."""

    first: int
    end: int
    starts: Tensor  # [2]
    lengths: Tensor  # [1]
    pages: Tensor  # [1, P]


@dataclass(frozen=True)
class Sight:
    """What rows [first, end) of a batch see beside the text, as attention reads it: each row of media is a page."""

    first: int
    end: int
    states: Tensor  # [P, L, 2, KV, page, D]: keys and values in each layer with cross-attention
    starts: Tensor  # [2]
    lengths: Tensor  # [1]
    pages: Tensor  # [1, P]


@dataclass(frozen=True)
class Batch:
    """T tokens of B sequences laid end to end: no padding, prefill and decode mixed freely.

    The small index tensors that kernels and loops read (`starts`, `lengths`, `prompts`, `pages`, `slots`) live on the
    host as int32 and `tokens`, `positions`, `outputs`, `fresh` on the model's device.
    """

    tokens: Tensor  # [T] int64 token ids; 0 where a row of `media` stands
    positions: Tensor  # [T] int64 position in the sequence, or [3, T] for multi-axis rope
    starts: Tensor  # [B + 1] row where each sequence begins
    lengths: Tensor  # [B] tokens of the sequence in the cache after this step
    prompts: (
        Tensor  # [B] length that rope scaling is decided by: the prompt's, or at the latest restart
    )
    pages: Tensor  # [B, P] cache pages of each sequence, in order; unused entries are 0
    slots: Tensor  # [B] fixed-size state slot of each sequence
    fresh: Tensor  # [B] bool, true when the sequence starts in this step
    outputs: Tensor  # [R] int64 rows whose logits are wanted, in rising order
    media: tuple[
        tuple[Tensor, Tensor], ...
    ] = ()  # rows [n] of this batch, what takes their place [n, W]
    joined: tuple[Joined, ...] = ()
    sights: tuple[Sight, ...] = ()  # in rising order; rows that see nothing are in none
    adapters: tuple[str | None, ...] = ()  # of each sequence; empty where none has one
    memo: dict[Any, Any] = field(default_factory=dict)  # values layers share, such as rope angles

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """Yield (sequence, first row, row after the last)."""
        starts = self.starts.tolist()
        return zip(range(len(starts) - 1), starts, starts[1:])
