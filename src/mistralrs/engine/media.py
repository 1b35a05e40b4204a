"""What encoders made of media, kept for prompts that show the same again."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from mistralrs.nn.media import Media

BUDGET = 512 << 20  # bytes


class Encoded:
    """Rows of media by number; the least recently used go when they exceed a number of bytes."""

    def __init__(self, encode: Callable[[Media], Tensor], budget: int = BUDGET):
        self.encode, self.budget = encode, budget
        self.kept: OrderedDict[int, Tensor] = OrderedDict()
        self.size = 0

    def rows(self, media: Media) -> Tensor:
        """[rows, W] of one medium."""
        if media.number not in self.kept:
            self.keep(media.number, self.encode(media))
        self.kept.move_to_end(media.number)
        return self.kept[media.number]

    def keep(self, number: int, rows: Tensor) -> None:
        """Add rows, and forget others until all fit; the latest stay in any case."""
        self.kept[number] = rows
        self.size += rows.nbytes
        while self.size > self.budget and len(self.kept) > 1:
            self.size -= self.kept.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything, for example after the weights changed."""
        self.kept.clear()
        self.size = 0
