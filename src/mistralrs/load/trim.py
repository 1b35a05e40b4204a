"""Memory that was freed, back to the system."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MMAP_THRESHOLD = -3  # of glibc's malloc.h
SMALL, USUAL = 1 << 17, 32 << 20  # bytes: where glibc begins, and where its own adjustment ends


def library() -> Any:
    """The C library where it is glibc, else None: musl and other systems keep less."""
    found = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return found if hasattr(found, "malloc_trim") else None


def trim() -> None:
    """Let the C library return what it keeps for later; after quantizing that can be a tenth of the model."""
    if (libc := library()) is not None:
        libc.malloc_trim(0)


@contextmanager
def mapped() -> Iterator[None]:
    """Map blocks that are made meanwhile each by itself, so that they go back whole, whenever they are freed.

    glibc does so with large ones only, the larger the more of them have come and gone. Of the others it keeps up to
    64 MB free at the end of the memory of the thread that made them, which malloc_trim does not return.
    """
    libc = library()
    if libc is not None:
        libc.mallopt(MMAP_THRESHOLD, SMALL)
    try:
        yield
    finally:
        if libc is not None:
            libc.mallopt(MMAP_THRESHOLD, USUAL)
