"""Constraints in the engine: masks, forced tokens and ends, under everything that can happen to a sequence."""

import threading
import time

import numpy as np
import pytest

from mistralrs.api.errors import EngineError, GrammarError
from mistralrs.api.prompt import Sampling
from mistralrs.engine.sequence import Job
from tests.engine.fake import Caller, Fake, Plain, Recurrent, Switching, follow, prompt, start

CHOICES, LAST = range(10, 20), 40


class Rhyme:
    """A choice from 10 to 19, then three forced tokens that depend on it, over and over."""

    def __init__(self, verses: int):
        self.verses, self.done = verses, False
        self.queue: list[int] = []
        self.thread, self.threads = threading.get_ident(), []

    def push(self, token: int) -> None:
        assert threading.get_ident() == self.thread
        if token in CHOICES:
            assert not self.queue, "a choice where a token is forced"
            self.queue = [token + 10, token + 20, LAST]
        else:
            assert self.queue.pop(0) == token
            self.verses -= token == LAST
            self.done = not self.verses

    def allowed(self) -> np.ndarray:
        self.threads.append(threading.get_ident())
        bits = np.zeros(56, np.uint8)
        bits[CHOICES] = 1
        return np.packbits(bits, bitorder="little")

    def forced(self) -> list[int]:
        return list(self.queue)


class Broken(Rhyme):
    """Fails in its second verse."""

    def allowed(self) -> np.ndarray:
        if self.verses == 1:
            raise GrammarError("too complex")
        return super().allowed()


def rhymes(tokens, verses: int) -> list[int]:
    """What greedy decoding under a Rhyme gives."""
    out: list[int] = []
    for _ in range(verses):
        wanted = follow([*tokens, *out])
        choice = wanted if wanted in CHOICES else CHOICES[0]
        out += [choice, choice + 10, choice + 20, LAST]
    return out


class Ruled(Caller):
    """A caller with a constraint."""

    def __init__(self, engine, asked, verses: int, kind: type[Rhyme] = Rhyme):
        super().__init__(Submit(engine, lambda: kind(verses)), asked)


class Submit:
    """An engine that adds a constraint to each job."""

    def __init__(self, engine, constrain):
        self.engine, self.constrain = engine, constrain

    def submit(self, job: Job) -> None:
        job.constrain = self.constrain
        self.engine.submit(job)


SITUATIONS = {
    "plain": dict(),
    "two tokens a step": dict(budget=2),
    "no prefix cache": dict(reuse=False),
    "no cache": dict(keep=False),
    "few pages": dict(pages=14, context=40),
    "recurrent": dict(kind=Recurrent),
    "recurrent, few pages": dict(kind=Recurrent, pages=14, context=40),
    "outgrowing": dict(kind=Switching),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_crowd(name):
    engine, model = start(**SITUATIONS[name])
    prompts = [[5, 3, 8, length] * (length % 3 + 1) for length in range(6)]
    callers = [Ruled(engine, prompt(tokens, 100), 5) for tokens in prompts]
    free = Caller(engine, prompt([9, 9], 10, stop_ids=frozenset()))
    for tokens, caller in zip(prompts, callers, strict=True):
        assert caller.wait().error is None
        assert caller.tokens() == rhymes(tokens, 5)
        assert caller.finish() == "stop"
        assert caller.job.generated == 20
        assert "".join(piece.text for piece in caller.pieces) == "".join(
            f"<{token}>" for token in rhymes(tokens, 5)
        )
    assert len(free.wait().tokens()) == 10
    engine.close()


def test_forced_tokens_take_no_step_of_their_own():
    engine, model = start()
    caller = Ruled(engine, prompt([1, 2], 100), 5).wait()
    assert model.steps == 5
    assert [len(piece.tokens) for piece in caller.pieces] == [4] * 5
    engine.close()


def test_reported_tokens_are_computed_one_by_one():
    engine, model = start()
    sampling = Sampling(temperature=0.0, logprobs=1)
    caller = Ruled(engine, prompt([1, 2], 100, sampling=sampling), 5).wait()
    assert caller.tokens() == rhymes([1, 2], 5)
    assert model.steps == 20
    assert all(t.logprob is not None and t.top for piece in caller.pieces for t in piece.tokens)
    engine.close()


@pytest.mark.parametrize("limit", range(1, 9))
def test_the_limit_holds_inside_a_forced_run(limit):
    engine, _ = start()
    caller = Ruled(engine, prompt([1, 2], limit), 2).wait()
    assert caller.tokens() == rhymes([1, 2], 2)[:limit]
    assert caller.finish() == ("stop" if limit == 8 else "length")
    engine.close()


def test_a_stop_string_inside_a_forced_run():
    engine, _ = start()
    choice = rhymes([1, 2], 1)[0]
    asked = Submit(engine, lambda: Rhyme(3))
    caller = Caller(asked, prompt([1, 2], 100), lambda: Plain(f"<{choice + 10}>")).wait()
    assert caller.tokens() == [choice, choice + 10]
    assert (caller.finish(), caller.pieces[-1].text) == ("stop", f"<{choice}>")
    engine.close()


def test_continuations_have_a_grammar_each():
    engine, _ = start()
    asked = prompt([1, 2], 100, n=3, sampling=Sampling(temperature=9.0, seed=4))
    caller = Ruled(engine, asked, 3).wait()
    found = [caller.tokens(index) for index in range(3)]
    assert all(len(tokens) == 12 and tokens[3::4] == [LAST] * 3 for tokens in found)
    assert len({tuple(tokens) for tokens in found}) == 3
    engine.close()


def test_a_broken_grammar_ends_only_its_request():
    engine, _ = start()
    bad = Ruled(engine, prompt([1, 2], 100), 2, Broken)
    good = Ruled(engine, prompt([3, 4], 100), 5)
    assert isinstance(bad.wait().error, GrammarError)
    assert good.wait().tokens() == rhymes([3, 4], 5)
    engine.close()


class Slow(Rhyme):
    """Computes long for each mask."""

    def allowed(self) -> np.ndarray:
        end = time.thread_time() + 1e-3
        while time.thread_time() < end:
            pass
        return super().allowed()


@pytest.mark.parametrize(("kind", "elsewhere"), [(Rhyme, 1), (Slow, 5)])
def test_slow_masks_are_computed_elsewhere(kind, elsewhere):
    engine, _ = start()
    rhyme = kind(5)
    rhyme.thread = engine.thread.ident
    caller = Caller(Submit(engine, lambda: rhyme), prompt([1, 2], 100)).wait()
    assert caller.tokens() == rhymes([1, 2], 5)
    assert sum(thread != engine.thread.ident for thread in rhyme.threads) >= elsewhere
    engine.close()


@pytest.mark.parametrize("kind", [Fake, Recurrent])
def test_a_failing_step_is_repeated_one_by_one(kind):
    engine, model = start(kind=kind, pause=0.01)
    model.fail_on = {48}
    bad = Caller(engine, prompt([48, 2], 8))
    callers = [Ruled(engine, prompt([7, n], 100), 4) for n in range(3)]
    assert isinstance(bad.wait().error, EngineError)
    for n, caller in enumerate(callers):
        assert caller.wait().tokens() == rhymes([7, n], 4)
    engine.close()
