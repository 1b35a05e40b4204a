"""Recurrent state in slots: every answer comes from the right one, whatever is reused, evicted, preempted or failing.

The fake model asserts before every token that the slot it is given has seen exactly the sequence's tokens.
"""

import threading
import time

import pytest

from mistralrs.api.errors import EngineError
from mistralrs.engine.memory import Slots
from tests.engine.fake import Caller, Recurrent, expected, prompt, start
from tests.engine.test_engine import grow, settle

LONG = [(7 * i) % 49 + 1 for i in range(41)]


def ask(engine, tokens, limit: int = 8, **rules) -> Caller:
    """The caller of a finished request, whose answer is right."""
    caller = Caller(engine, prompt(tokens, limit, **rules)).wait()
    assert caller.error is None
    for index in range(caller.job.prompt.n):
        assert caller.tokens(index) == expected(tokens, limit)
    return caller


def check_idle(engine) -> None:
    """Nothing is held, and every slot is accounted for."""
    settle(engine)
    limits, slots = engine.limits, engine.scheduler.slots
    assert engine.pages.free == engine.pages.count
    assert sorted(slots.free) == list(range(limits.max_running))
    kept = sorted([*slots.spare, *slots.saved.values()])
    assert kept == list(range(limits.max_running, limits.max_running + limits.snapshots))


@pytest.fixture
def engine():
    """An engine over a recurrent fake model, whose slots must be in order at the end."""
    one, _ = start(kind=Recurrent)
    yield one
    check_idle(one)
    one.close()


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16, 17, 40, 41])
def test_the_same_prompt_twice(engine, length):
    """What is found again is all whole pages but at least one token."""
    tokens = LONG[:length]
    assert ask(engine, tokens).job.cached == 0
    assert ask(engine, tokens).job.cached == (length - 1) // 4 * 4


def test_a_turn_that_extends_an_answered_one(engine):
    answer = ask(engine, LONG[:18], 9).tokens()
    both = [*LONG[:18], *answer]
    again = ask(engine, [*both, 5, 6, 7])
    assert again.job.cached == (len(both) - 1) // 4 * 4  # the last answer token was never computed


def test_an_answer_leaves_one_snapshot(engine):
    tokens = next(t for t in ([i, 1, 2] for i in range(1, 49)) if 0 not in expected(t, 30))
    ask(engine, tokens, 30)
    assert len(engine.scheduler.slots.saved) == 1


def test_a_long_prompt_leaves_one_snapshot_and_a_branch_another():
    engine, _ = start(kind=Recurrent, budget=8)
    ask(engine, LONG, 1)
    saved = engine.scheduler.slots.saved
    assert len(saved) == 1
    other = [*LONG[:22], 48, 47, 46, 45]
    assert ask(engine, other, 1).job.cached == 0  # 20 tokens in pages, but no state at their end
    assert len(saved) == 3  # of both prompts, and of what they share
    assert ask(engine, [*LONG[:22], 1, 2], 1).job.cached == 20
    check_idle(engine)
    engine.close()


@pytest.mark.parametrize("snapshots", [0, 1, 2])
def test_few_snapshots(snapshots):
    """The least recently used one goes; prompts without one are computed again."""
    engine, _ = start(kind=Recurrent, snapshots=snapshots)
    prompts = [[i, *LONG[:12]] for i in (1, 2, 3)]
    for tokens in prompts:
        ask(engine, tokens, 1)
    cached = [ask(engine, tokens, 1).job.cached > 0 for tokens in reversed(prompts)]
    assert cached == [i < snapshots for i in range(3)]
    check_idle(engine)
    engine.close()


def test_without_reuse_of_pages():
    engine, _ = start(kind=Recurrent, reuse=False)
    assert [ask(engine, LONG).job.cached for _ in range(2)] == [0, 0]
    assert not engine.scheduler.slots.saved
    check_idle(engine)
    engine.close()


@pytest.mark.parametrize("budget", [3, 16, 64])
def test_without_kept_keys(budget):
    """Every token is computed again at every step, from a state of zeros."""
    engine, model = start(kind=Recurrent, keep=False, budget=budget)
    caller = ask(engine, LONG[:10], 6)
    assert caller.job.cached == 0
    callers = [Caller(engine, prompt([i, *LONG[:10]], 6)) for i in range(1, 9)]
    for i, caller in enumerate(callers, start=1):
        assert caller.wait().tokens() == expected([i, *LONG[:10]], 6)
    check_idle(engine)
    engine.close()


def test_continuations_start_from_the_same_state(engine):
    ask(engine, LONG[:29], n=5)
    ask(engine, LONG[:2], n=3)  # shorter than a page


def test_preemption():
    engine, _ = start(kind=Recurrent, pages=12, size=4, context=40, snapshots=3)
    prompts = [[i + 1, *range(1, 10)] for i in range(8)]
    callers = [Caller(engine, prompt(p, 25, stop_ids=frozenset())) for p in prompts]
    for tokens, caller in zip(prompts, callers, strict=True):
        assert caller.wait().tokens() == grow(tokens, 25)
    check_idle(engine)
    engine.close()


def test_cancellation():
    engine, model = start(kind=Recurrent, pause=0.005, budget=4)
    gone = Caller(engine, prompt(LONG, 100))
    stays = Caller(engine, prompt(LONG[:30], 6))
    while model.steps < 3:
        time.sleep(0.001)
    engine.cancel(gone.job)
    assert gone.wait().finish() == "canceled"
    assert stays.wait().tokens() == expected(LONG[:30], 6)
    ask(engine, LONG, 2)
    check_idle(engine)
    engine.close()


@pytest.mark.parametrize("snapshots", [0, 4])
@pytest.mark.parametrize("keep", [True, False])
def test_a_failing_step_is_computed_again(keep, snapshots):
    """States have moved on when a batch raises; nobody's answer may show it."""
    engine, model = start(kind=Recurrent, snapshots=snapshots, keep=keep)
    model.fail_at = {8}
    gate = threading.Event()
    engine.call(gate.wait)
    prompts = [[i, *LONG[:9]] for i in range(1, 7)]
    callers = [Caller(engine, prompt(tokens, 20, stop_ids=frozenset())) for tokens in prompts]
    gate.set()
    for tokens, caller in zip(prompts, callers, strict=True):
        assert caller.wait().error is None
        assert caller.tokens() == grow(tokens, 20)
    assert model.sizes[7] > 1  # the step that failed
    assert model.sizes[8] == 1
    assert max(model.sizes[8:28]) > 1  # they do not stay alone
    check_idle(engine)
    engine.close()


def test_a_failing_request_ends_alone():
    engine, model = start(kind=Recurrent, pause=0.001)
    model.fail_on = {48}
    good = {i: expected([i, 2, 3], 20) for i in range(1, 40)}
    good = dict([pair for pair in good.items() if 48 not in pair[1]][:5])
    callers = {i: Caller(engine, prompt([i, 2, 3], 20)) for i in good}
    bad = Caller(engine, prompt([1, 2, 48]))
    assert isinstance(bad.wait().error, EngineError)
    for i, caller in callers.items():
        assert caller.wait().tokens() == good[i]
    check_idle(engine)
    engine.close()


def test_snapshots_are_forgotten_with_the_pages():
    engine, model = start(kind=Recurrent)
    ask(engine, LONG)
    settle(engine)
    engine.call(engine.scheduler.clear)
    engine.call(model.states.clear)
    assert [ask(engine, LONG).job.cached for _ in range(2)] == [0, 40]
    engine.close()


class TestSlots:
    """The bookkeeping alone."""

    def make(self, snapshots: int = 2) -> tuple[Slots, dict[int, str]]:
        content: dict[int, str] = {}
        slots = Slots(2, snapshots, lambda a, b: content.__setitem__(b, content[a]))
        return slots, content

    def test_covered_is_the_longest_beginning_with_a_state(self):
        slots, content = self.make()
        content[0] = "ab"
        assert slots.save(b"ab", 0)
        assert slots.covered([b"a", b"ab", b"abc"]) == 2
        assert slots.covered([b"a"]) == 0

    def test_the_least_recently_used_goes(self):
        slots, content = self.make()
        for name in ("a", "b"):
            content[0] = name
            assert slots.save(name.encode(), 0)
        slots.restore(b"a", 1)
        assert content[1] == "a"
        content[0] = "c"
        assert slots.save(b"c", 0)
        assert list(slots.saved) == [b"a", b"c"]

    def test_a_state_is_kept_once(self):
        slots, content = self.make()
        content[0] = "a"
        assert [slots.save(b"a", 0), slots.save(b"a", 0)] == [True, False]
        slots.forget(b"a")
        slots.forget(b"a")
        assert len(slots.spare) == 2

    def test_no_room(self):
        slots, content = self.make(0)
        content[0] = "a"
        assert not slots.save(b"a", 0)
