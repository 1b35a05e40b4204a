"""Packing, order, failures and the end of the one-step engine, with a model that sums the tokens of each text."""

import threading
from concurrent.futures import wait

import pytest
import torch

from mistralrs.api.errors import EngineError
from mistralrs.engine.oneshot import OneShot, Room

ROOM = Room(pages=40, page_size=4, texts=6, budget=64)


class Sums:
    """One number per text; remembers what each step held, and may wait or fail."""

    def __init__(self, bad: int = -1):
        self.steps: list[list[list[int]]] = []
        self.entered, self.go = threading.Event(), threading.Event()
        self.bad = bad
        self.go.set()

    def __call__(self, batch) -> torch.Tensor:
        self.entered.set()
        self.go.wait(10)
        texts = [batch.tokens[a:b].tolist() for _, a, b in batch.spans()]
        self.steps.append(texts)
        if any(self.bad in text for text in texts):
            raise RuntimeError("bad token")
        check(batch, texts)
        return torch.tensor([[float(sum(text))] for text in texts])


def check(batch, texts) -> None:
    """No page belongs to two texts, and every text starts at position 0."""
    used = [
        page for row, text in zip(batch.pages.tolist(), texts) for page in row[: ROOM.need(text)]
    ]
    assert len(set(used)) == len(used)
    assert max(used) < ROOM.pages
    assert batch.positions.tolist() == [i for text in texts for i in range(len(text))]
    assert batch.lengths.tolist() == [len(text) for text in texts]


def busy(engine: OneShot, model: Sums) -> list:
    """Keep the thread in a step with the text [1] until `model.go` is set."""
    model.go.clear()
    first = engine.submit([[1]])
    assert model.entered.wait(10)
    return first


@pytest.fixture
def model():
    return Sums()


@pytest.fixture
def engine(model):
    one = OneShot(model, torch.device("cpu"), ROOM)
    yield one
    one.close()


def test_order_and_packing(engine, model):
    texts = [[i] * (1 + i * 7 % 23) for i in range(50)]
    found = [future.result(10) for future in engine.submit(texts)]
    assert found == [[float(sum(text))] for text in texts]
    assert [text for step in model.steps for text in step] == texts
    pages = [sum(map(ROOM.need, step)) for step in model.steps]
    assert all(
        len(step) <= ROOM.texts and used <= ROOM.shared for step, used in zip(model.steps, pages)
    )
    assert len(model.steps) < 25


def test_a_long_text_runs_alone(engine, model):
    texts = [[1], [2] * 150, [3]]
    assert [f.result(10) for f in engine.submit(texts)] == [[1.0], [300.0], [3.0]]
    assert [len(step) for step in model.steps] == [1, 1, 1]


def test_callers_share_a_step(engine, model):
    first = busy(engine, model)
    others = [engine.submit([[i]])[0] for i in range(2, 6)]
    model.go.set()
    wait([*first, *others])
    assert model.steps == [[[1]], [[2], [3], [4], [5]]]
    assert [f.result() for f in others] == [[2.0], [3.0], [4.0], [5.0]]


def test_only_the_failing_text_fails():
    engine = OneShot(Sums(bad=7), torch.device("cpu"), ROOM)
    found = engine.submit([[1], [7], [3]])
    assert found[0].result(10) == [1.0]
    assert found[2].result(10) == [3.0]
    with pytest.raises(EngineError, match="bad token"):
        found[1].result(10)
    engine.close()


def test_canceled_texts_are_not_computed(engine, model):
    busy(engine, model)
    given_up, kept = engine.submit([[2], [3]])
    assert given_up.cancel()
    model.go.set()
    assert kept.result(10) == [3.0]
    assert model.steps == [[[1]], [[3]]]


def test_close_leaves_nobody_waiting(model):
    engine = OneShot(model, torch.device("cpu"), ROOM)
    first = busy(engine, model)
    waiting = engine.submit([[i] * 60 for i in range(5)])
    closing = threading.Thread(target=engine.close)
    closing.start()
    while not engine.closed:
        closing.join(0.01)
    model.go.set()
    closing.join(10)
    assert first[0].result(10) == [1.0]
    assert all(isinstance(f.exception(10), EngineError) for f in waiting)
    with pytest.raises(EngineError, match="load it again"):
        engine.submit([[1]])
