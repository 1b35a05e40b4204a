"""What grammars allow next: slow masks are computed by other threads while the model runs, quick ones at once."""

import time
from collections.abc import Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from mistralrs.engine.sampler import Bits
from mistralrs.engine.sequence import Sequence

THREADS = 4
QUICK = 2e-4  # seconds of masks in a step that are not worth waking a thread, which takes longer


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
        masks: dict[Sequence, Future[Bits]] = {}
        left = QUICK
        for sequence in sequences:
            if sequence.constraint is None or sequence.forced:
                continue
            left -= sequence.mask_seconds
            masks[sequence] = self.threads.submit(mask, sequence) if left < 0 else now(sequence)
        return Started(masks)

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False)


def mask(sequence: Sequence) -> Bits:
    """Compute the mask of a sequence, and note how long that took: the next one is likely to be alike."""
    assert sequence.constraint is not None, "only constrained sequences have a mask"
    start = time.thread_time()
    bits = sequence.constraint.allowed()
    sequence.mask_seconds = time.thread_time() - start
    return bits


def now(sequence: Sequence) -> "Future[Bits]":
    """Compute the mask of a sequence on this thread."""
    result: Future[Bits] = Future()
    try:
        result.set_result(mask(sequence))
    except Exception as error:
        result.set_exception(error)
    return result
