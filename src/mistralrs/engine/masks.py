"""What grammars allow next, computed by other threads while the model runs."""

from collections.abc import Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from mistralrs.engine.sampler import Bits
from mistralrs.engine.sequence import Sequence

THREADS = 4  # most masks take microseconds, some take milliseconds


@dataclass(frozen=True)
class Started:
    """The masks of one step."""

    masks: "dict[Sequence, Future[Bits]]"

    def wait(self) -> None:
        """Return when no thread reads a constraint any more."""
        futures.wait(self.masks.values())

    def of(self, sequence: Sequence) -> Bits | None:
        """What a sequence may go on with; None without a constraint, and where computing it failed."""
        mask = self.masks.get(sequence)
        return None if mask is None or mask.exception() else mask.result()

    def error(self, sequence: Sequence) -> Exception | None:
        """Why there is no mask."""
        mask = self.masks.get(sequence)
        error = None if mask is None else mask.exception()
        assert error is None or isinstance(error, Exception), "nobody cancels a mask"
        return error


class Masks:
    """The threads."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mistralrs-grammar")

    def start(self, sequences: Iterable[Sequence]) -> Started:
        """Begin with the sequences that have a constraint and a choice; they must not grow before `wait` returns."""
        return Started(
            {
                sequence: self.threads.submit(sequence.constraint.allowed)
                for sequence in sequences
                if sequence.constraint is not None and not sequence.forced
            }
        )

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False)
