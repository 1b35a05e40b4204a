"""Every architecture against transformers: float32 logits within 1e-4 however the tokens are batched."""

from dataclasses import dataclass, replace

import pytest
import torch

from mistralrs.api.prompt import Prompt
from mistralrs.engine import batch
from mistralrs.engine.memory import Pages, Slots
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.load.build import build
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from tests.models import tiny

TOLERANCE = 1e-4
A, B = list(range(5, 48)), list(range(60, 95))  # 43 and 35 tokens: more than one page of 16 each

# Steps of {sequence: tokens}: each computes that many more tokens of the sequences A and B.
SCHEDULES = {
    "whole": [{"A": 43}, {"B": 35}],
    "ragged": [{"A": 43, "B": 35}],
    "chunked": [{"A": 9}, {"A": 1}, {"A": 22}, {"A": 11}, {"B": 34}, {"B": 1}],
    "decode": [{"A": 40, "B": 32}, *[{"A": 1, "B": 1}] * 3],
    "mixed": [{"A": 20}, {"A": 1, "B": 17}, {"B": 1, "A": 1}, {"A": 7, "B": 16}, {"B": 1, "A": 14}],
}


@dataclass
class Driver:
    """Runs scripted steps on a model and keeps the logits of every token."""

    model: torch.nn.Module
    scheduler: Scheduler

    def start(self, tokens: list[int], salt: int = 0) -> Sequence:
        """A running sequence with the cached pages of its beginning, if there are any."""
        job = Job(Prompt(tuple(tokens)), lambda: None, lambda piece: None)
        sequence = Sequence(job, 0, len(tokens) + 1, salt.to_bytes(8, "little"))
        self.scheduler.reuse(sequence)
        self.scheduler.start(sequence)
        return sequence

    def step(self, turns: list[Turn]) -> list[torch.Tensor]:
        """Logits [tokens, V] of each turn."""
        assert all(self.scheduler.reserve(*turn) for turn in turns)
        one = batch.build(turns, torch.device("cpu"))
        with torch.inference_mode():
            logits = self.model(replace(one, outputs=torch.arange(len(one.tokens))))
        for turn in turns:
            self.scheduler.advance(turn)
        return list(logits.split([t.tokens for t in turns]))


def load(folder, dtype: str = "f32") -> Driver:
    """A driver for the checkpoint in a folder, with pages of 16 tokens."""
    wish = Wish(dtype=dtype, page_size=16, sequences=8, snapshots=2)
    built = build(open_repo(str(folder)), wish)
    slots = built.copy and Slots(wish.sequences, wish.snapshots, built.copy)
    return Driver(built.model, Scheduler(Pages(64, 16), wish.sequences, 512, slots))


@pytest.fixture(scope="module", params=tiny.CASES)
def case(request, tmp_path_factory):
    """The checkpoint's folder, the reference's logits of A and B, and those of A with rounded weights."""
    model = tiny.reference(request.param)
    folder = tiny.save(model, tmp_path_factory.mktemp("model"))
    expected = {
        name: tiny.logits(request.param, tokens) for name, tokens in zip("AB", (A, B), strict=True)
    }
    return folder, expected | {"rounded": tiny.logits(request.param, A, torch.bfloat16)}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_logits(case, schedule):
    folder, expected = case
    driver = load(folder)
    sequences = {"A": driver.start(A), "B": driver.start(B)}
    found = {"A": [], "B": []}
    for step in SCHEDULES[schedule]:
        parts = driver.step([Turn(sequences[n], count) for n, count in step.items()])
        for name, part in zip(step, parts, strict=True):
            found[name].append(part)
    for name in "AB":
        assert_close(torch.cat(found[name]), expected[name])


def test_prefix_hit_is_exact(case):
    folder, expected = case
    driver = load(folder)
    whole = driver.step([Turn(driver.start(A), len(A))])[0]
    driver = load(folder)
    first = driver.start(A)
    for count in (32, 11):  # stops at the end of a page, where states are kept
        driver.step([Turn(first, count)])
    warm = driver.start(A)
    assert warm.computed == 32
    hit = driver.step([Turn(warm, warm.pending), Turn(driver.start(B), len(B))])[0]
    assert torch.equal(hit, whole[32:])
    assert_close(hit, expected["A"][32:])


def test_bfloat16(case):
    folder, expected = case
    driver = load(folder, "bf16")
    found = driver.step([Turn(driver.start(A), len(A))])[0]
    difference = (found - expected["rounded"]).norm(dim=-1) / expected["rounded"].norm(dim=-1)
    # Only the cache rounds activations; the median, since that may send a token to another expert.
    assert difference.median() < 0.03


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= TOLERANCE
