"""Memory for weights in huge pages: reading them all for each token misses the usual 4 KB ones without end.

Linux gives 2 MB pages to whole ranges of that size only, and a matrix is often smaller. So the matrices of one load
share long mappings, which go back to the system when the last of them is dropped.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from math import prod

import torch
from torch import Tensor

HUGE = 2 << 20  # bytes of a huge page of x86 and, with 4 KB base pages, of ARM
CHUNK = 64 << 20  # bytes of a mapping; what is not written is not resident
LINE = 64  # bytes: where tensors begin


class Arena:
    """Hands out pieces of long mappings, one after the other."""

    def __init__(self) -> None:
        self.chunk, self.used = torch.empty(0, dtype=torch.uint8), 0

    def empty(self, *shape: int) -> Tensor:
        """uint8 [...], not initialized."""
        size = prod(shape)
        if self.used + size > len(self.chunk):
            self.chunk, self.used = chunk(max(CHUNK, -(-size // HUGE) * HUGE)), 0
        piece = self.chunk[self.used : self.used + size]
        self.used += -(-size // LINE) * LINE
        return piece.view(shape)


def chunk(size: int) -> Tensor:
    """A mapping uint8 [size] that begins with a huge page."""
    mapping = mmap.mmap(-1, size + HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        mapping.madvise(mmap.MADV_HUGEPAGE)
    memory = torch.frombuffer(mapping, dtype=torch.uint8)
    first = -memory.data_ptr() % HUGE
    return memory[first : first + size]


ARENA: ContextVar[Arena | None] = ContextVar("arena", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Matrices that are packed meanwhile share mappings, where the system has huge pages."""
    token = ARENA.set(Arena() if hasattr(mmap, "MADV_HUGEPAGE") else None)
    try:
        yield
    finally:
        ARENA.reset(token)


def empty(*shape: int) -> Tensor:
    """uint8 [...] for packed weights, not initialized."""
    arena = ARENA.get()
    return torch.empty(shape, dtype=torch.uint8) if arena is None else arena.empty(*shape)
