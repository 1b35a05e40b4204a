"""Pages and Scheduler under random interleavings of requests, steps and cancellations, without threads."""

from collections import Counter
from itertools import chain

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mistralrs.engine import batch
from mistralrs.engine.memory import Pages, Slots
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from tests.engine.fake import STOP, Fake, Plain, Recurrent, expected, prompt

STEMS = [[1 + (i * 7) % 48 for i in range(40)], [2 + (i * 5) % 47 for i in range(40)]]


class World:
    """A scheduler, its pages and the fake model; `step` does what the engine's loop does."""

    def __init__(
        self,
        pages: int,
        size: int,
        running: int,
        budget: int,
        reuse: bool = True,
        snapshots: int | None = None,  # of recurrent states; None: a model without
    ):
        self.pages, self.context = Pages(pages, size, reuse), pages * size
        self.model: Fake = Fake(pages, size)
        self.slots, self.snapshots = None, snapshots
        if snapshots is not None:
            self.model = model = Recurrent(pages, size)
            self.slots = Slots(running, snapshots, model.copy)
        self.scheduler = Scheduler(self.pages, running, budget, self.slots)
        self.live: list[Sequence] = []  # in order of arrival
        self.seen: set[Sequence] = set()  # that have run
        self.steps = 0

    def submit(self, tokens: list[int], limit: int) -> Sequence:
        job = Job(prompt(tokens, limit), Plain, lambda piece: None)
        sequence = Sequence(job, 0, self.context)
        self.scheduler.waiting.append(sequence)
        self.live.append(sequence)
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        self.live.remove(sequence)
        sequence.finish = "canceled"
        answer = sequence.tokens[sequence.prompt_length :]
        assert answer == solo(sequence)[: len(answer)]

    def step(self, fails: bool = False) -> None:
        self.steps += 1
        turns = self.scheduler.plan()
        self.check(turns)
        logits = iter(self.model(batch.build(turns, torch.device("cpu"))))
        if fails and len(turns) > 1:
            self.scheduler.isolate(turns)
            return
        for turn in turns:
            token = int(next(logits).argmax()) if turn.sequence.pending == turn.tokens else None
            self.scheduler.advance(turn)
            if token is not None:
                self.commit(turn.sequence, token)

    def commit(self, sequence: Sequence, token: int) -> None:
        sequence.append(token)
        sequence.finish = sequence.ended_by(token)
        if sequence.finish:
            assert sequence.tokens[sequence.prompt_length :] == solo(sequence)
            self.scheduler.remove(sequence)
            self.live.remove(sequence)

    def check(self, turns: list[Turn]) -> None:
        """What must be true of every planned step."""
        assert turns, "an empty step while sequences wait"
        counts = [turn.tokens for turn in turns]
        assert len({id(turn.sequence) for turn in turns}) == len(turns)
        assert min(counts) >= 1
        assert sum(counts) <= max(self.scheduler.budget, len(counts)), "over budget"
        assert len(self.scheduler.running) <= self.scheduler.max_running
        for sequence, count in turns:
            self.check_turn(sequence, count)
        self.check_order()

    def check_turn(self, sequence: Sequence, count: int) -> None:
        """A turn has its pages, and what it writes is its own and cannot be found by others."""
        size, done = self.pages.size, sequence.computed
        assert count <= sequence.pending
        assert len(sequence.pages) >= self.pages.need(done + count)
        written = sequence.pages[done // size : self.pages.need(done + count)]
        assert [self.pages.holders[page] for page in written] == [1] * len(written)
        assert [self.pages.digests[page] for page in written] == [None] * len(written)

    def check_order(self) -> None:
        """First come, first served: nobody starts before one that came earlier."""
        self.seen |= set(self.scheduler.running)
        started = [sequence in self.seen for sequence in self.live]
        assert started == sorted(started, reverse=True)

    def check_pages(self) -> None:
        """Every page is held, findable or blank, and counted as often as it is referred to."""
        pages, running = self.pages, self.scheduler.running
        references = Counter(chain.from_iterable(s.pages for s in running))
        assert pages.holders == [references[page] for page in range(pages.count)]
        assert not any(s.pages or s.computed for s in self.scheduler.waiting)
        states = [*pages.blank, *pages.idle, *references]
        assert sorted(states) == list(range(pages.count))
        assert pages.free + len(references) == pages.count
        named = {d: page for page, d in enumerate(pages.digests) if d is not None}
        assert named == pages.known
        assert set(pages.idle) <= set(named.values())
        assert not set(pages.blank) & set(named.values())

    def check_slots(self) -> None:
        """Every slot is held by one running sequence, free, kept or spare."""
        if self.slots is None:
            return
        held = [sequence.slot for sequence in self.scheduler.running]
        most = self.scheduler.max_running
        assert sorted([*held, *self.slots.free]) == list(range(most))
        kept = sorted([*self.slots.saved.values(), *self.slots.spare])
        assert kept == list(range(most, most + self.snapshots))

    def drain(self) -> None:
        """Everything finishes within as many steps as there are tokens to compute, twice if need be."""
        bound = self.steps + 2 * sum(len(s.job.prompt.tokens) + s.limit + 1 for s in self.live)
        while self.live:
            self.step()
            self.check_pages()
            self.check_slots()
            assert self.steps <= bound, "starving"
        assert self.pages.free == self.pages.count
        assert not len(self.scheduler)


def solo(sequence: Sequence) -> list[int]:
    """What the model says when it is asked alone."""
    return expected(sequence.job.prompt.tokens, max(sequence.limit, 1))


class Interleavings(RuleBasedStateMachine):
    """Requests that share prefixes come, run and go in a pool that is too small for them."""

    @initialize(
        pages=st.integers(3, 24),
        size=st.sampled_from([1, 2, 4]),
        running=st.integers(1, 6),
        budget=st.integers(1, 12),
        reuse=st.sampled_from([True, True, False]),
        snapshots=st.sampled_from([None, None, 0, 1, 3]),
    )
    def begin(self, **sizes):
        self.world = World(**sizes)

    @rule(
        stem=st.sampled_from([0, 1]),
        length=st.integers(1, 40),
        tail=st.lists(st.integers(1, 49), max_size=3),
        limit=st.integers(1, 20),
    )
    def submit(self, stem, length, tail, limit):
        tokens = (
            [*tail[:1], *STEMS[stem][:length]] if len(tail) == 3 else [*STEMS[stem][:length], *tail]
        )
        self.world.submit(tokens[: self.world.context], limit)

    @precondition(lambda self: self.world.live)
    @rule(count=st.integers(1, 8))
    def step(self, count):
        for _ in range(count):
            if self.world.live:
                self.world.step()
                self.world.check_pages()

    @precondition(lambda self: self.world.live)
    @rule()
    def fail(self):
        self.world.step(fails=True)

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def cancel(self, data):
        self.world.cancel(data.draw(st.sampled_from(self.world.live)))

    @rule()
    def forget(self):
        if not self.world.scheduler.running:
            self.world.scheduler.clear()

    @invariant()
    def pages_add_up(self):
        if hasattr(self, "world"):
            self.world.check_pages()
            self.world.check_slots()

    def teardown(self):
        if hasattr(self, "world"):
            self.world.drain()


Interleavings.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestInterleavings = Interleavings.TestCase


@pytest.mark.parametrize("length", [15, 16])
def test_a_prompt_as_long_as_the_pool(length):
    world = World(pages=4, size=4, running=2, budget=8)
    world.submit(STEMS[0][:length], 5)
    world.drain()


def test_a_preempted_sequence_comes_back_first():
    world = World(pages=4, size=4, running=3, budget=16)
    prompts = [[head, *STEMS[0][:6]] for head in range(1, 49)]
    prompts = [tokens for tokens in prompts if STOP not in expected(tokens, 9)]
    old, young, late = (world.submit(tokens, 9) for tokens in prompts[:3])
    while young in world.scheduler.running or not world.steps:
        world.step()
    assert world.scheduler.running == [old]
    assert list(world.scheduler.waiting) == [young, late]
    world.drain()
