"""State of fixed size per sequence: a pool [slots, ...] of which a batch reads and writes its own."""

from typing import Any, Protocol

from torch import Tensor


class Slotted(Protocol):
    """What an operation with a memory reads of a batch."""

    @property
    def starts(self) -> Tensor: ...  # [B + 1] int32 on the host, row where each sequence begins
    @property
    def slots(self) -> Tensor: ...  # [B] int32 on the host, where the state of each sequence is
    @property
    def fresh(
        self,
    ) -> Tensor: ...  # [B] bool on the device, whether it counts as zero before this step
    @property
    def memo(self) -> dict[Any, Any]: ...  # values that the layers of a step share


def read(pool: Tensor, batch: Slotted) -> Tensor:
    """The states [B, ...] of the batch's sequences; zeros for those that start in this step."""
    state = pool[batch.slots.long()]
    return state.masked_fill(batch.fresh.view(-1, *[1] * (state.dim() - 1)), 0)


def write(pool: Tensor, batch: Slotted, state: Tensor) -> None:
    """Store the states [B, ...] after this step."""
    pool[batch.slots.long()] = state.to(pool.dtype)


def index(batch: Slotted) -> tuple[int, int, int, int]:
    """The indices of a batch, as cpu/ops.cpp takes them."""
    return (
        batch.starts.data_ptr(), batch.slots.data_ptr(), batch.fresh.data_ptr(), len(batch.slots),
    )  # fmt: skip
