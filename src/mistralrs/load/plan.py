"""How much memory a model will take, decided before any of it is taken."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

from mistralrs.api.errors import OutOfMemoryError
from mistralrs.load.config import Config
from mistralrs.load.matformer import Slice
from mistralrs.nn.cache import Paged, Seen, State
from mistralrs.quant.formats import Format

MB = 1 << 20
STEP = 2048  # tokens of a step of an embedding model, unless a single text is longer


@dataclass(frozen=True)
class Budget:
    """What the user says about the cache; the first that is set wins."""

    tokens: int | None = None
    fraction: float | None = None  # of all memory, weights included
    megabytes: int | None = None
    expected: int = 4096  # tokens that must fit in any case, unless the model's context is shorter


@dataclass(frozen=True)
class Wish:
    """What the user decides about a model."""

    arch: str | None = None  # name in `arch=`; None reads config.json
    media: bool = False  # whether `arch` names a model that reads media
    dtype: str = "auto"
    device: torch.device = torch.device("cpu")
    isq: Format | None = None  # type that matrices are quantized to
    experts: bool = False  # ... but only those of the experts of a mixture, and the head
    sequences: int = 16  # that may run at once
    snapshots: int = 16  # recurrent states kept for reuse
    page_size: int = 32
    budget: Budget = Budget()
    slice: Slice | None = None  # of a MatFormer
    embeds: bool = False  # texts in, vectors out: no head, and no cache from step to step


@dataclass(frozen=True)
class Plan:
    """Bytes of the weights, and pages of the cache."""

    device: str
    weights: int
    per_token: int
    page_size: int
    pages: int
    states: int  # slots of recurrent state, snapshots included
    context: int
    available: int

    def __str__(self) -> str:
        cache = self.pages * self.page_size * self.per_token
        return (
            f"memory plan for {self.device}: weights {size(self.weights)}, cache up to {size(cache)} "
            f"({self.pages * self.page_size} tokens of {self.per_token} B), context {self.context}, "
            f"{size(self.available)} available"
        )


def plan(model: nn.Module, cfg: Config, weights: int, dtype: torch.dtype, wish: Wish) -> Plan:
    """Fit the caches beside `weights` bytes; raises OutOfMemoryError when the expected context does not fit."""
    total, available = memory(wish.device)
    per_token = sum(m.width for m in model.modules() if isinstance(m, Paged)) * dtype.itemsize
    per_state = sum(m.width for m in model.modules() if isinstance(m, State)) * 4
    states = wish.sequences + (wish.snapshots if per_state else 0)
    fixed = weights + states * per_state + wish.sequences * beside(model, dtype)
    longest = context(cfg)
    wanted = tokens(wish, total, available, fixed, per_token, longest)
    least = min(longest, wish.budget.tokens or wish.budget.expected)
    asked = wanted if wish.budget.tokens or wish.budget.megabytes else 0
    need = max(least, asked)
    if available - fixed < need * per_token or wanted < least:
        raise OutOfMemoryError(
            f"the model does not fit: weights, states and images {size(fixed)} and {need} tokens of cache at "
            f"{per_token} B each ({size(need * per_token)}) against {size(available)} available on "
            f"{wish.device} and a cache budget of {max(wanted, 0)} tokens; use a smaller or quantized "
            "model, pass a smaller pa_ctxt_len or max_seqs, or free memory"
        )
    pages = -(-wanted // wish.page_size)
    fits = min(longest, pages * wish.page_size)
    return Plan(
        str(wish.device), weights, per_token, wish.page_size, pages, states, fits, available
    )


def beside(model: nn.Module, dtype: torch.dtype) -> int:
    """Bytes that cross-attention keeps of the largest image; a sequence shows at least one."""
    encoder = getattr(model, "encoder", None)
    width = sum(m.width for m in model.modules() if isinstance(m, Seen))
    return encoder.beside * width * dtype.itemsize if encoder is not None else 0


def tokens(wish: Wish, total: int, available: int, fixed: int, per_token: int, longest: int) -> int:
    """Cache capacity in tokens: what the user asked for, else what a share of the free memory can hold."""
    budget = wish.budget
    if wish.embeds:
        return max(longest, STEP)
    if budget.tokens is not None:
        return budget.tokens
    if not per_token:
        return longest * wish.sequences
    if budget.fraction is not None:
        return int(total * budget.fraction - fixed) // per_token
    if budget.megabytes is not None:
        return budget.megabytes * MB // per_token
    share = 0.25 if wish.device.type == "cpu" else 0.9
    return min(longest * wish.sequences, int((available - fixed) * share) // per_token)


def context(cfg: Config) -> int:
    """The longest sequence that the model is made for, scaled rope included."""
    longest: int = cfg.max_position_embeddings
    for spec in cfg.rope.values():
        if spec["rope_type"] in ("linear", "dynamic"):
            longest = max(longest, int(cfg.max_position_embeddings * spec["factor"]))
        elif spec["rope_type"] == "yarn" and spec.get("factor"):
            longest = max(longest, int(spec["original_max_position_embeddings"] * spec["factor"]))
    return longest


def memory(device: torch.device) -> tuple[int, int]:
    """Bytes of memory in all and available, of a GPU or of what this process may use of the machine."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    machine = psutil.virtual_memory()
    limit = container()
    if limit is None:
        return machine.total, machine.available
    return min(machine.total, limit[0]), min(machine.available, limit[1])


def container() -> tuple[int, int] | None:
    """Limit and room of the control group this process is in, if it has one (Linux, cgroup v2)."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        cached = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return limit, limit - used + int(cached.get("file", 0))


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"
