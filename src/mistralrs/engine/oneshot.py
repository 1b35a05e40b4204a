"""What a model answers in one step, such as embeddings: the texts of all callers, packed into ragged batches."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mistralrs.api.errors import EngineError
from mistralrs.engine.batch import host, page_table
from mistralrs.engine.engine import failed
from mistralrs.nn.batch import Batch

log = logging.getLogger("mistralrs.engine")
CLOSED = "the model was unloaded, or its Runner closed, before this request was done; load it again"


@dataclass(frozen=True)
class Room:
    """What fits into one step. A text alone may take all pages."""

    pages: int  # there are
    page_size: int
    texts: int
    budget: int = 2048  # tokens of several texts together, each rounded up to pages

    def need(self, tokens: Sequence[int]) -> int:
        """Pages of a text."""
        return -(-len(tokens) // self.page_size)

    @property
    def shared(self) -> int:
        """Pages of several texts together."""
        return min(self.pages, self.budget // self.page_size)


@dataclass(frozen=True, eq=False)
class Item:
    """The tokens of one text, and where its vector goes."""

    tokens: Sequence[int]
    vector: "Future[list[float]]" = field(default_factory=Future)


class OneShot:
    """A thread that runs `model(batch) -> [B, D]` on what it is given, first come, first served."""

    def __init__(self, model: Callable[[Batch], Tensor], device: torch.device, room: Room):
        self.model, self.device, self.room = model, device, room
        self.waiting: deque[Item] = deque()
        self.changed = threading.Condition()  # guards these three
        self.closed = False  # to more texts
        self.abandoned = False  # those that wait, too
        self.thread = threading.Thread(target=self.run, name="mistralrs-oneshot", daemon=True)
        self.thread.start()

    # Called from any thread.

    def submit(self, texts: Sequence[Sequence[int]]) -> "list[Future[list[float]]]":
        """Queue texts as token ids; canceling a future gives its text up."""
        items = [Item(tokens) for tokens in texts]
        with self.changed:
            if self.closed:
                raise EngineError(CLOSED)
            self.waiting.extend(items)
            self.changed.notify()
        return [item.vector for item in items]

    def close(self, finish: bool = False) -> None:
        """End the thread, and let go of the model. What still waits fails with an EngineError, or with `finish` is
        done first.
        """
        with self.changed:
            self.closed = True
            self.abandoned = not finish
            self.changed.notify()
        if threading.current_thread() is not self.thread:
            self.thread.join()

    # On the thread.

    def run(self) -> None:
        """Step until closed. Nobody is left waiting."""
        with torch.inference_mode():
            while items := self.take():
                self.step([item for item in items if item.vector.set_running_or_notify_cancel()])
        for item in self.waiting:
            if item.vector.set_running_or_notify_cancel():
                item.vector.set_exception(EngineError(CLOSED))
        del self.model  # whoever keeps this does not keep the weights

    def take(self) -> list[Item]:
        """The next texts that fit a step together, waiting for the first; none at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closed)
            items: list[Item] = []
            pages = 0
            while self.waiting and not self.abandoned:
                pages += self.room.need(self.waiting[0].tokens)
                full = pages > self.room.shared or len(items) == self.room.texts
                if items and full:
                    break
                items.append(self.waiting.popleft())
            return items

    def step(self, items: list[Item]) -> None:
        """Compute a batch. When it fails its texts run one by one, and only those that fail again end."""
        if not items:
            return
        try:
            vectors = self.model(build([item.tokens for item in items], self.room, self.device))
            rows = vectors.tolist()
        except Exception as error:
            if len(items) == 1:
                items[0].vector.set_exception(failed(error))
            else:
                for item in items:
                    self.step([item])
            return
        for item, row in zip(items, rows, strict=True):
            item.vector.set_result(row)


def build(texts: Sequence[Sequence[int]], room: Room, device: torch.device) -> Batch:
    """Whole texts end to end, on pages from the first on."""
    lengths = [len(tokens) for tokens in texts]
    starts, pages = [0], [0]
    for tokens in texts:
        starts.append(starts[-1] + len(tokens))
        pages.append(pages[-1] + room.need(tokens))
    return Batch(
        tokens=torch.tensor([token for tokens in texts for token in tokens], device=device),
        positions=torch.cat([torch.arange(n) for n in lengths]).to(device),
        starts=host(starts),
        lengths=host(lengths),
        prompts=host(lengths),
        pages=page_table([range(*span) for span in zip(pages, pages[1:])]),
        slots=host(range(len(texts))),
        fresh=torch.ones(len(texts), dtype=torch.bool, device=device),
        outputs=(host(starts[1:]) - 1).long().to(device),
    )
