"""Rows of media in batches: kept within a budget, joined runs never cut, positions with three axes."""

import pytest
import torch

from mistralrs.api.prompt import Prompt
from mistralrs.engine import batch
from mistralrs.engine.media import Encoded
from mistralrs.engine.memory import Pages
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.nn.media import Media, runs


def medium(number: int, rows: int, joined: bool = False) -> Media:
    return Media(number, {}, rows, joined=joined)


def encode(media: Media) -> torch.Tensor:
    """Row i of medium n is [n, i]."""
    rows = torch.arange(media.rows).float()
    return torch.stack((torch.full_like(rows, media.number), rows), 1)


def sequence(tokens, *media: Media, positions=None) -> Sequence:
    prompt = Prompt(tuple(tokens), media={m.number: m for m in media}, positions=positions)
    return Sequence(Job(prompt, lambda: None, lambda piece: None), 0, 1000)


def test_the_budget_holds_the_latest():
    calls = []
    encoded = Encoded(lambda m: calls.append(m.number) or encode(m), budget=3 * 8 * 10)
    media = [medium(n, 10) for n in range(5)]
    for n in (0, 1, 2, 0, 3, 0, 1):  # 3 sends 1 away, 1 sends 2 away
        assert torch.equal(encoded.rows(media[n]), encode(media[n]))
    assert calls == [0, 1, 2, 3, 1]
    assert list(encoded.kept) == [3, 0, 1]
    assert encoded.size == 240
    large = medium(9, 100)
    assert len(encoded.rows(large)) == 100
    assert list(encoded.kept) == [9]


def test_runs():
    a, b = medium(3, 4), medium(7, 2)
    tokens = [1, *a.ids, *b.ids, 2, *a.ids[2:], 5]
    assert list(runs(tokens)) == [(3, 1, 5), (7, 5, 7), (3, 8, 10)]
    assert list(runs([1, 2])) == []


def test_rows_of_several_sequences_in_one_batch():
    a, b = medium(3, 4), medium(7, 2)
    one, other = sequence([1, *a.ids, 2], a), sequence([*b.ids, 9, *a.ids], a, b)
    one.computed = 2  # the first row is in the cache
    built = batch.build([Turn(one, 4), Turn(other, 5)], torch.device("cpu"), Encoded(encode).rows)
    assert built.tokens.tolist() == [0, 0, 0, 2, 0, 0, 9, 0, 0]
    places = [(rows.tolist(), values.tolist()) for rows, values in built.media]
    assert places == [
        ([0, 1, 2], [[3, 1], [3, 2], [3, 3]]),
        ([4, 5], [[7, 0], [7, 1]]),
        ([7, 8], [[3, 0], [3, 1]]),
    ]
    assert built.joined == ()


@pytest.mark.parametrize(
    ("computed", "left", "count"),
    [
        (0, 100, 16),
        (0, 3, 3),
        (0, 4, 4),
        (0, 6, 4),
        (2, 5, 2),
        (4, 1, 5),
        (4, 7, 7),
        (9, 3, 3),
        (6, 1, 3),
    ],
)
def test_joined_runs_are_not_cut(computed, left, count):
    """Ten tokens, of which 4 to 8 are joined; six more."""
    one = medium(0, 5, joined=True)
    found = sequence([1, 2, 3, 4, *one.ids, *range(10, 17)], one)
    found.computed = computed
    assert Scheduler(Pages(9, 16), 8, 512).chunk(found, left) == count


def test_joined_rows_of_a_batch():
    one = medium(0, 5, joined=True)
    found = sequence([1, 2, *one.ids, 9], one)
    found.pages, found.computed = [4, 5], 4
    (span,) = batch.build([Turn(found, 4)], torch.device("cpu"), Encoded(encode).rows).joined
    assert (span.first, span.end) == (0, 3)
    assert (span.starts.tolist(), span.lengths.tolist()) == ([0, 3], [7])
    assert span.pages.tolist() == [[4, 5]]


def test_axes_of_positions():
    given = torch.tensor([[0, 1, 1, 3], [0, 1, 2, 3], [0, 2, 1, 3]])
    wide, plain = sequence([5, 6, 7, 8], positions=given), sequence([5, 6, 7])
    wide.computed = 2
    for token in (1, 2):
        wide.append(token)
    built = batch.build([Turn(wide, 4), Turn(plain, 2)], torch.device("cpu"))
    assert built.positions.tolist() == [
        [1, 3, 4, 5, 0, 1],
        [2, 3, 4, 5, 0, 1],
        [1, 3, 4, 5, 0, 1],
    ]
    only = batch.build([Turn(plain, 3)], torch.device("cpu"))
    assert only.positions.tolist() == [0, 1, 2]
