"""What is known of one ggml type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Kind:
    """A block format: `block` values in `size` bytes, and how to decode blocks uint8 [B, size] -> float32."""

    name: str
    code: int  # in GGUF files
    block: int
    size: int
    decode: Callable[[Array], Array]

    @property
    def bits(self) -> float:
        """Bits per value, scales included."""
        return 8 * self.size / self.block

    def row_bytes(self, values: int) -> int:
        """Bytes of a row; the block must divide it."""
        assert values % self.block == 0, (self.name, values)
        return values // self.block * self.size

    def rows(self, raw: Array) -> Array:
        """Rows uint8 [..., bytes] -> float32 [..., values]; a few at a time, so that temporaries stay small."""
        blocks = raw.reshape(-1, self.size)
        out = np.empty((len(blocks), self.block), np.float32)
        step = max(1, (1 << 18) // self.block)
        with np.errstate(invalid="ignore", over="ignore"):  # a damaged scale may be infinite
            for start in range(0, len(blocks), step):
                out[start : start + step] = self.decode(blocks[start : start + step])
        return out.reshape(*raw.shape[:-1], raw.shape[-1] // self.size * self.block)
