"""Memory that was freed, back to the system."""

import ctypes
import sys


def trim() -> None:
    """Let the C library return what it keeps for later; after quantizing that can be a tenth of the model."""
    if sys.platform.startswith("linux"):
        give = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if give is not None:
            give(0)
