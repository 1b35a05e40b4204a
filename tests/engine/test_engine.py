"""The engine over a fake model: batching, paging, reuse, cancellation, failure."""

import random
import threading
import time

import pytest

from mistralrs.api.errors import EngineError
from mistralrs.api.prompt import Sampling
from tests.engine.fake import Caller, Plain, Switching, expected, prompt, start


@pytest.fixture
def engine():
    """An engine over a fake model, closed at the end."""
    one, _ = start()
    yield one
    one.close()


def settle(engine, seconds: float = 5.0) -> None:
    """Wait until nothing runs."""
    end = time.monotonic() + seconds
    while engine.jobs and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16, 17, 40])
def test_one(engine, length):
    tokens = [(7 * i) % 49 + 1 for i in range(length)]
    caller = Caller(engine, prompt(tokens)).wait()
    assert caller.tokens() == expected(tokens, 8)
    assert engine.pages.free == engine.pages.count


def test_finish_reasons(engine):
    tokens = next(t for t in ([i] for i in range(1, 49)) if 0 not in expected(t, 5))
    assert Caller(engine, prompt(tokens, 5)).wait().finish() == "length"
    ended = next(t for t in ([i, 1] for i in range(1, 49)) if 0 in expected(t, 40))
    assert Caller(engine, prompt(ended, 60)).wait().finish() == "stop"
    second = expected(tokens, 2)[1]
    stopped = Caller(engine, prompt(tokens), lambda: Plain(f"<{second}>")).wait()
    assert stopped.finish() == "stop"
    assert "".join(p.text for p in stopped.pieces) == f"<{expected(tokens, 1)[0]}>"


def test_context_is_the_limit():
    engine, _ = start(pages=4, size=4)
    tokens = next(t for t in ([i] for i in range(1, 49)) if 0 not in expected(t, 15))
    caller = Caller(engine, prompt(tokens, limit=None)).wait()
    assert (len(caller.tokens()), caller.finish()) == (15, "length")
    engine.close()


def test_continuations_share_the_prompt(engine):
    tokens = list(range(1, 30))
    caller = Caller(engine, prompt(tokens, n=3)).wait()
    assert all(caller.tokens(i) == expected(tokens, 8) for i in range(3))
    assert caller.job.generated == 3 * len(expected(tokens, 8))


def test_prefix_reuse_computes_less():
    engine, model = start(budget=4)
    tokens = list(range(1, 42))
    Caller(engine, prompt(tokens, 1)).wait()
    cold = model.steps
    again = Caller(engine, prompt(tokens, 1)).wait()
    assert (cold, model.steps - cold) == (11, 1)
    assert again.job.cached == 40
    assert again.tokens() == expected(tokens, 1)
    engine.close()


@pytest.mark.parametrize("off", [dict(reuse=False), dict(keep=False)])
def test_without_reuse(off):
    engine, _ = start(**off)
    tokens = list(range(1, 30))
    for _ in range(2):
        caller = Caller(engine, prompt(tokens)).wait()
        assert caller.tokens() == expected(tokens, 8)
        assert caller.job.cached == 0
    engine.close()


def test_preemption_keeps_the_answer():
    engine, _ = start(pages=12, size=4, context=40)
    prompts = [[i + 1, *range(1, 10)] for i in range(8)]
    callers = [Caller(engine, prompt(p, 25, stop_ids=frozenset())) for p in prompts]
    for tokens, caller in zip(prompts, callers):
        got = caller.wait().tokens()
        assert got == grow(tokens, 25)
    assert engine.pages.free == 12
    engine.close()


@pytest.mark.parametrize("off", [{}, dict(pages=12, context=40), dict(keep=False)])
def test_a_sequence_that_outgrows_its_cache_is_computed_again(off):
    engine, _ = start(kind=Switching, **off)
    prompts = [[i + 1, *range(1, length)] for i, length in enumerate((3, 11, 12, 13, 14))]
    for _ in range(2):  # the second time over the pages of the first
        callers = [Caller(engine, prompt(p, 20, stop_ids=frozenset(), n=2)) for p in prompts]
        for tokens, caller in zip(prompts, callers):
            assert caller.wait().error is None
            assert caller.tokens(0) == caller.tokens(1) == grow(tokens, 20)
    assert engine.pages.free == engine.pages.count
    engine.close()


def grow(tokens, count):
    """The continuation when nothing stops it."""
    from tests.engine.fake import follow

    out = []
    for _ in range(count):
        out.append(follow([*tokens, *out]))
    return out


def test_cancel_frees_pages_within_a_step():
    engine, model = start(pause=0.01, budget=4)
    caller = Caller(engine, prompt(list(range(1, 200))))
    while not model.steps:
        time.sleep(0.001)
    engine.cancel(caller.job)
    before = model.steps
    assert caller.wait().finish() == "canceled"
    settle(engine)
    assert model.steps - before <= 1, "went on with the prompt of a canceled request"
    assert engine.pages.free == engine.pages.count
    engine.close()


def test_a_failing_step_ends_only_its_request():
    engine, model = start(pause=0.001)
    model.fail_on = {48}
    good = [Caller(engine, prompt([i, 2, 3], 20)) for i in range(1, 7)]
    bad = Caller(engine, prompt([1, 2, 48]))
    error = bad.wait().error
    assert isinstance(error, EngineError)
    assert "told to fail" in str(error)
    for i, caller in enumerate(good, start=1):
        want = expected([i, 2, 3], 20)
        if 48 not in want:
            assert caller.wait().tokens() == want
    settle(engine)
    assert engine.pages.free == engine.pages.count
    engine.close()


def test_a_bad_follower_or_caller_ends_only_its_request(engine):
    class Broken(Plain):
        def push(self, token):
            raise KeyError("broken follower")

    assert isinstance(Caller(engine, prompt([1, 2]), Broken).wait().error, EngineError)
    gone = Caller(engine, prompt([3, 4], 30))
    gone.job.deliver = lambda item: 1 / 0
    assert Caller(engine, prompt([5, 6])).wait().tokens() == expected([5, 6], 8)
    settle(engine)
    assert engine.pages.free == engine.pages.count


def test_close_fails_what_waits():
    engine, _ = start(pause=0.01)
    callers = [Caller(engine, prompt(list(range(1, 50)), 100)) for _ in range(4)]
    engine.close()
    for caller in callers:
        caller.wait()
        assert caller.error is not None or caller.finish()
    late = Caller(engine, prompt([1])).wait()
    assert isinstance(late.error, EngineError)


def test_a_dead_loop_hangs_nobody():
    engine, _ = start(pause=0.01)
    caller = Caller(engine, prompt(list(range(1, 50)), 100))
    engine.call(lambda: 1 / 0)
    assert isinstance(caller.wait().error, EngineError)
    assert isinstance(Caller(engine, prompt([1])).wait().error, EngineError)


def test_seed_decides_whatever_else_runs():
    engine, _ = start(max_running=4)
    hot = Sampling(temperature=50.0, seed=11)
    alone = Caller(engine, prompt([1, 2, 3], 20, sampling=hot)).wait().tokens()
    noise = [Caller(engine, prompt([i, 9], 30, sampling=Sampling(seed=i))) for i in range(6)]
    crowded = Caller(engine, prompt([1, 2, 3], 20, sampling=hot)).wait().tokens()
    other = Caller(engine, prompt([1, 2, 3], 20, sampling=Sampling(50.0, seed=12))).wait()
    assert alone == crowded != other.tokens()
    for caller in noise:
        caller.wait()
    engine.close()


def test_many_threads_with_random_cancellations():
    engine, _ = start(pages=48, size=4, context=80, max_running=6)
    shared = list(range(1, 14))
    failures: list[object] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(6):
            tokens = shared[: chance.randrange(1, 14)] + [chance.randrange(1, 50)]
            caller = Caller(engine, prompt(tokens, chance.randrange(1, 30)))
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.01)
                engine.cancel(caller.job)
            caller.wait()
            want = expected(tokens, caller.job.prompt.max_tokens)
            got = caller.tokens()
            if got != want[: len(got)] or (caller.finish() != "canceled" and got != want):
                failures.append((tokens, got, want))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert engine.pages.free == engine.pages.count
    assert not engine.jobs
    engine.close()
