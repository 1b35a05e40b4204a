"""What encoders made of media, kept for prompts that show the same again."""

from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from mistralrs.nn.media import Media

BUDGET = 512 << 20  # bytes


Key = tuple[int, ...]  # numbers of media


class Encoded:
    """Rows of media by number; the least recently used go when they exceed a number of bytes.

    What a sequence holds is found in any case: it sees the media beside its text in every step.
    """

    def __init__(self, encode: Callable[[Media], Tensor], budget: int = BUDGET):
        self.encode, self.budget = encode, budget
        self.kept: OrderedDict[Key, Tensor] = OrderedDict()
        self.alive: WeakValueDictionary[Key, Tensor] = WeakValueDictionary()
        self.size = 0

    def rows(self, *media: Media) -> Tensor:
        """[rows, ...] of media, one behind the other."""
        key = tuple(one.number for one in media)
        if key not in self.kept:
            found = self.alive.get(key)
            self.keep(key, self.made(*media) if found is None else found)
        self.kept.move_to_end(key)
        return self.kept[key]

    def made(self, *media: Media) -> Tensor:
        """The same, of what is not there yet."""
        if len(media) == 1:
            return self.encode(media[0])
        return torch.cat([self.rows(one) for one in media])

    def keep(self, key: Key, rows: Tensor) -> None:
        """Add rows, and forget others until all fit; the latest stay in any case."""
        self.kept[key] = self.alive[key] = rows
        self.size += rows.nbytes
        while self.size > self.budget and len(self.kept) > 1:
            self.size -= self.kept.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything, for example after the weights changed."""
        self.kept.clear()
        self.alive.clear()
        self.size = 0
