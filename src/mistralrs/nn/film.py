"""The vocabulary that processors of films are written in: which frames are shown, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mistralrs.nn.image import Picture, Size


@dataclass(frozen=True)
class Film:
    """Frames at a constant rate. Frame `i` is shown `i / rate` seconds after the first one."""

    size: Size
    frames: int
    rate: float  # frames per second
    read: Callable[
        [Sequence[int]], Iterator[Picture]
    ]  # frames in ascending order, when they are asked for
    whole: bool = False  # all frames are to be seen: somebody has chosen them already
    wanted: float | None = None  # frames per second to look at; None: as the family does


def spread(frames: int, count: int) -> list[int]:
    """`count` of the frames, evenly spread from the first one on (Qwen 2 VL)."""
    return [int(i * frames / count) for i in range(count)]


def between(frames: int, count: int) -> list[int]:
    """`count` of the frames, evenly spread from the first to the last one (Qwen 3 VL)."""
    return np.linspace(0, frames - 1, count).round().astype(int).tolist()


def groups(frames: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """So many frames at a time; the last one fills up the last group."""
    while group := list(islice(frames, size)):
        yield group + group[-1:] * (size - len(group))
