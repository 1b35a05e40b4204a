"""Rows of media in batches: kept within a budget, joined runs never cut, positions with three axes."""

import sys

import pytest
import torch

from mistralrs.api.prompt import Prompt
from mistralrs.engine import batch
from mistralrs.engine.media import Encoded
from mistralrs.engine.memory import Pages
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.nn.media import Media, runs, views


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
    assert list(encoded.kept) == [(3,), (0,), (1,)]
    assert encoded.size == 240
    large = medium(9, 100)
    assert len(encoded.rows(large)) == 100
    assert list(encoded.kept) == [(9,)]


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


def beside(number: int, rows: int) -> Media:
    return Media(number, {}, rows, token=77)


def shown(media: Media) -> torch.Tensor:
    """Keys and values of two layers for one head: rows of 5 positions."""
    return torch.full((media.rows, 2, 2, 1, 5, 8), media.number)


def test_views():
    a, b, c = beside(3, 4), beside(7, 1), medium(8, 2)
    tokens = [1, *a.ids, 2, *c.ids, *b.ids, *a.ids, *a.ids, 3, 4]
    found = views(tokens, {m.number: m for m in (a, b, c)})
    assert [(v.first, v.end, [m.number for m in v.group], v.rows) for v in found] == [
        (1, 5, [3], 4),
        (5, 6, [7, 3, 3], 1),
        (6, 7, [7, 3, 3], 5),
        (7, sys.maxsize, [7, 3, 3], 9),
    ]
    assert views([1, *c.ids], {8: c}) == []


def test_what_rows_of_a_batch_see():
    a, b = beside(3, 4), beside(7, 1)
    one, other = sequence([1, 2, *a.ids, *b.ids, 5], a, b), sequence([6, 7])
    last = sequence([*b.ids, 9], b)
    one.computed, last.computed = 1, 2
    last.append(5)
    turns = [Turn(one, 4), Turn(other, 2), Turn(last, 1)]
    built = batch.build(turns, torch.device("cpu"), Encoded(shown).rows)
    assert built.tokens.tolist() == [2, 77, 77, 5, 6, 7, 5]
    assert built.media == ()
    assert [(s.first, s.end, s.starts.tolist(), s.lengths.tolist()) for s in built.sights] == [
        (1, 2, [0, 1], [20]),
        (2, 4, [0, 2], [25]),
        (6, 7, [0, 1], [5]),
    ]
    assert [s.pages.tolist() for s in built.sights] == [[[0, 1, 2, 3]], [[0, 1, 2, 3, 4]], [[0]]]
    assert [s.states[:, 0, 0, 0, 0, 0].tolist() for s in built.sights[1:]] == [[3, 3, 3, 3, 7], [7]]


def test_what_a_sequence_sees_is_not_encoded_again():
    calls = []
    encoded = Encoded(lambda m: calls.append(m.number) or shown(m), budget=1)
    media = [beside(n, 2) for n in range(3)]
    running = [sequence([*m.ids, 5], m) for m in media]
    for _ in range(3):
        batch.build([Turn(s, 2) for s in running], torch.device("cpu"), encoded.rows)
    assert calls == [0, 1, 2]
    del running[0]  # it ended, and what it saw is gone with it
    again = sequence([*media[0].ids, 5], media[0])
    batch.build([Turn(s, 2) for s in (*running, again)], torch.device("cpu"), encoded.rows)
    assert calls == [0, 1, 2, 0]
    encoded.clear()
    batch.build([Turn(s, 2) for s in running], torch.device("cpu"), encoded.rows)
    assert calls == [0, 1, 2, 0, 1, 2]


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
