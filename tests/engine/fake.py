"""A model that remembers tokens in pages, as attention remembers keys: any mistake with pages changes what it says."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from mistralrs.api.piece import Piece
from mistralrs.api.prompt import Prompt, Sampling
from mistralrs.engine.engine import Body, Engine, Limits
from mistralrs.engine.sequence import Job

VOCAB, STOP, SEED = 50, 0, 7
GREEDY = Sampling(temperature=0.0)


def follow(tokens) -> int:
    """The token that the fake model finds most likely after these."""
    return digest(tokens) % VOCAB


def digest(tokens, state: int = SEED) -> int:
    """A number that depends on every token and their order."""
    for token in tokens:
        state = (state * 31 + int(token) + 1) % 1_000_003
    return state


def expected(tokens, limit: int) -> list[int]:
    """The greedy continuation, the stop token included."""
    out: list[int] = []
    while len(out) < limit:
        out.append(follow([*tokens, *out]))
        if out[-1] == STOP:
            break
    return out


class Fake:
    """`Batch -> logits`, from nothing but the pages that the batch names."""

    copy: Callable[[int, int], None] | None = None

    def __init__(self, pages: int, size: int, pause: float = 0.0):
        self.memory = torch.full((pages, size), -1)
        self.size, self.pause, self.steps = size, pause, 0
        self.fail_on: set[int] = set()  # a batch with one of these tokens raises

    def salt(self, prompt: int, length: int) -> int:
        return 0

    def __call__(self, batch):
        self.steps += 1
        time.sleep(self.pause)
        self.stumble(batch)
        logits = torch.zeros(len(batch.outputs), VOCAB)
        rows = {int(r): i for i, r in enumerate(batch.outputs)}
        for b, start, end in batch.spans():
            self.remember(batch, b, start, end)
            if end - 1 in rows:
                told = self.recall(batch, b)
                assert -1 not in told, "reads a token that was never written"
                logits[rows[end - 1], follow(told)] = 5.0
        return logits

    def stumble(self, batch) -> None:
        """Raise when told to."""
        if self.fail_on & set(batch.tokens.tolist()):
            raise RuntimeError("the fake model was told to fail")

    def remember(self, batch, b: int, start: int, end: int) -> None:
        for row in range(start, end):
            page, offset = divmod(int(batch.positions[row]), self.size)
            self.memory[batch.pages[b, page], offset] = batch.tokens[row]

    def recall(self, batch, b: int) -> list[int]:
        length = int(batch.lengths[b])
        pages = batch.pages[b, : -(-length // self.size)].long()
        return self.memory[pages].flatten()[:length].tolist()


class Recurrent(Fake):
    """A Fake with a recurrent layer too: each slot holds a digest of the tokens it has seen, which must be those in
    the pages. A failing batch has already moved the states of its sequences on.
    """

    def __init__(self, pages: int, size: int, pause: float = 0.0):
        super().__init__(pages, size, pause)
        self.states: dict[int, int] = {}
        self.sizes: list[int] = []  # sequences of each step
        self.fail_at: set[int] = set()  # numbers of steps that raise

    def copy(self, source: int, target: int) -> None:
        self.states[target] = self.states[source]

    def __call__(self, batch):
        slots = batch.slots.tolist()
        assert len(set(slots)) == len(slots), "two sequences share a slot"
        self.sizes.append(len(slots))
        logits = super().__call__(batch)
        self.stumble(batch, late=True)
        return logits

    def stumble(self, batch, late: bool = False) -> None:
        if late:
            super().stumble(batch)
            if self.steps in self.fail_at:
                raise RuntimeError("the fake model was told to fail at this step")

    def remember(self, batch, b: int, start: int, end: int) -> None:
        super().remember(batch, b, start, end)
        slot = int(batch.slots[b])
        before = SEED if batch.fresh[b] else self.states[slot]
        self.states[slot] = digest(batch.tokens[start:end], before)
        assert self.states[slot] == digest(self.recall(batch, b)), "a state of other tokens"


class Plain:
    """A follower that spells token 7 as "<7>" and stops at a given text."""

    def __init__(self, stop: str = ""):
        self.stop, self.stopped = stop, False

    def push(self, token: int) -> str:
        self.stopped = f"<{token}>" == self.stop
        return "" if self.stopped else f"<{token}>"

    def flush(self) -> str:
        return ""


class Caller:
    """Submits one job and collects what comes back."""

    def __init__(self, engine: Engine, prompt: Prompt, follower=Plain):
        self.done = threading.Event()
        self.pieces: list[Piece] = []
        self.error: BaseException | None = None
        self.left = prompt.n
        self.job = Job(prompt, follower, self.take)
        self.engine = engine
        engine.submit(self.job)

    def take(self, item) -> None:
        if isinstance(item, BaseException):
            self.error = item
            self.left = 0
        else:
            self.pieces.append(item)
            self.left -= item.finish is not None
        if not self.left:
            self.done.set()

    def wait(self) -> "Caller":
        assert self.done.wait(30), "no end within 30 s"
        return self

    def tokens(self, index: int = 0) -> list[int]:
        return [t.id for p in self.pieces if p.index == index for t in p.tokens]

    def finish(self, index: int = 0):
        return next(p.finish for p in self.pieces if p.index == index and p.finish)


class Switching(Fake):
    """A fake model that remembers tokens in another way in sequences of more than LIMIT tokens, as LongRoPE does."""

    LIMIT = 12

    def salt(self, prompt: int, length: int) -> int:
        return int(length > self.LIMIT)

    def remember(self, batch, b: int, start: int, end: int) -> None:
        mark = VOCAB * self.salt(0, int(batch.prompts[b]))
        super().remember(replace(batch, tokens=batch.tokens + mark), b, start, end)

    def recall(self, batch, b: int) -> list[int]:
        told = super().recall(batch, b)
        assert {token // VOCAB for token in told} == {self.salt(0, len(told))}, "mixed or stale"
        return [token % VOCAB for token in told]


def start(
    pages: int = 64, size: int = 4, pause: float = 0.0, kind: type[Fake] = Fake, **limits
) -> tuple[Engine, Fake]:
    """An engine over a fake model."""
    model = kind(pages, size, pause)
    limits = dict(context=pages * size, pages=pages, page_size=size, budget=16) | limits
    return Engine(Body(model, torch.device("cpu"), model.salt, model.copy), Limits(**limits)), model


def prompt(tokens, limit: int = 8, **rules) -> Prompt:
    """A greedy prompt."""
    rules = dict(sampling=GREEDY, max_tokens=limit, stop_ids=frozenset({STOP})) | rules
    return Prompt(tuple(tokens), **rules)
