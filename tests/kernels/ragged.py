"""Batches of sequences with a state of fixed size, computed whole or in pieces."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

LENGTHS = [5, 1, 40, 3, 17]  # of sequences that run together
ROWS = sum(LENGTHS)


def shares(count: int) -> list[int]:
    """How a sequence is cut into ragged steps, the first one empty for every third."""
    cut = [count % 3, count // 2]
    return [*cut, count - sum(cut)]


CUTS = {  # tokens of each sequence in the steps
    "whole": [LENGTHS],
    "one by one": [[int(t < n) for n in LENGTHS] for t in range(max(LENGTHS))],
    "ragged": [list(step) for step in zip(*map(shares, LENGTHS), strict=True)],
    "alone": [[n if i == k else 0 for k, n in enumerate(LENGTHS)] for i in range(len(LENGTHS))],
}


def batch(counts: list[int], slots: list[int], fresh: list[bool]) -> SimpleNamespace:
    """Rows of so many tokens for each sequence."""
    starts = torch.tensor([0, *counts]).cumsum(0).int()
    return SimpleNamespace(
        starts=starts, slots=torch.tensor(slots).int(), fresh=torch.tensor(fresh), memo={}
    )


def steps(call: Callable[[Tensor, SimpleNamespace], Tensor], cuts: list[list[int]]) -> Tensor:
    """What `call(rows, batch)` gives for all ROWS rows, computed in these steps with slots 7, 6, 5 ..."""
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0).tolist()
    done, out = [0] * len(LENGTHS), {}
    for cut in cuts:
        some = [i for i, count in enumerate(cut) if count]
        rows = [offsets[i] + done[i] + t for i in some for t in range(cut[i])]
        piece = batch([cut[i] for i in some], [7 - i for i in some], [not done[i] for i in some])
        out |= zip(rows, call(torch.tensor(rows), piece), strict=True)
        done = [a + b for a, b in zip(done, cut, strict=True)]
    return torch.stack([out[row] for row in range(ROWS)])
