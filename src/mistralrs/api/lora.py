"""LoRA adapters that requests choose from, and the state of a calibration."""

from dataclasses import dataclass

from mistralrs.api import check
from mistralrs.api.record import Record
from mistralrs.api.strict import strict


@strict
@dataclass(frozen=True)
class LoraAdapter:
    """An adapter to load: the alias requests use, and the hub id or directory it comes from."""

    alias: str
    source: str
    revision: str | None = None

    def __post_init__(self) -> None:
        check.apply(self, {"alias": check.name, "source": check.path, "revision": check.name})


@strict
@dataclass(frozen=True)
class LoraAdapterGeneration(Record):
    """Exactly one loaded state of an adapter; an alias may later point to a newer one."""

    generation: str

    def __post_init__(self) -> None:
        check.apply(self, {"generation": check.name})


@strict
@dataclass(frozen=True)
class LoraAdapterInfo(Record):
    """A loaded adapter; `bytes` is what it occupies in memory."""

    alias: str
    source: str
    revision: str | None
    generation: str
    rank: int
    bytes: int

    def exact(self) -> LoraAdapterGeneration:
        """Return the handle that pins a request to this state of the adapter."""
        return LoraAdapterGeneration(self.generation)


@strict
@dataclass(frozen=True)
class LoraResidentGenerationInfo(Record):
    """A generation in memory; a retired one waits for its running requests to end."""

    generation: str
    aliases: tuple[str, ...]
    rank: int
    bytes: int
    retired: bool
    active_leases: int


@strict
@dataclass(frozen=True)
class LoraRuntimeStatus(Record):
    """All adapters of a model and the limits they share; sizes in bytes."""

    adapters: tuple[LoraAdapterInfo, ...]
    generations: tuple[LoraResidentGenerationInfo, ...]
    resident_generations: int
    retired_generations: int
    resident_bytes: int
    max_adapters: int
    max_rank: int
    max_bytes: int


@strict
@dataclass(frozen=True)
class CalibrationStatus(Record):
    """How far an importance calibration has come; rows are activations seen by a layer."""

    collecting: bool
    layers: int
    layers_tracking: int
    total_rows: int
    min_rows: int
    max_rows: int
