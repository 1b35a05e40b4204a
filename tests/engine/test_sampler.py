"""The sampler against naive implementations, transformers' logits processors, and statistics."""

import math
from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, reject, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from mistralrs.api.errors import EngineError, RequestError
from mistralrs.api.piece import Token
from mistralrs.api.prompt import Dry, Sampling
from mistralrs.engine import ranking, sampler
from mistralrs.engine.penalties import History, Penalties, longest_runs
from mistralrs.engine.philox import WORD, philox, uniform
from mistralrs.engine.ranking import ERROR, mass, rankings
from mistralrs.engine.sampler import Row, sample

quick = settings(max_examples=100, deadline=None, derandomize=True)


def row(sampling: Sampling, tokens: list[int] = (), **others) -> Row:
    return Row(sampling, penalties=Penalties.start(sampling, tokens), **others)


def one(logits, sampling: Sampling, tokens: list[int] = (), **others) -> Token:
    """Sample a single row; raise its error."""
    [result] = sample(
        torch.as_tensor(logits, dtype=torch.float32)[None], [row(sampling, tokens, **others)]
    )
    if isinstance(result, Exception):
        raise result
    return result


def noise(seed: int, size: int, spread: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


# --- naive and obvious ---


class Tie(Exception):
    """Two numbers so close that rounding may decide either way."""


def differ(left: float, right: float) -> None:
    if abs(left - right) < 1e-12:
        raise Tie


def naive_runs(tokens: list[int], breakers: set[int]) -> dict[int, int]:
    """DRY as its description says it: compare backwards from every earlier occurrence."""
    runs: dict[int, int] = {}
    n = len(tokens) - 1
    if n < 1 or tokens[n] in breakers:
        return runs
    for i in range(n):
        follower = tokens[i + 1]
        if tokens[i] != tokens[n] or follower in breakers:
            continue
        length = 1
        while length < 50 and i - length >= 0:
            same = tokens[i - length] == tokens[n - length]
            if not same or tokens[n - length] in breakers:
                break
            length += 1
        runs[follower] = max(runs.get(follower, 0), length)
    return runs


def naive_penalties(logits: np.ndarray, s: Sampling, tokens: list[int]) -> np.ndarray:
    values = [float(x) for x in logits]
    for token, bias in s.logit_bias.items():
        values[token] += bias
    if s.dry is not None:
        for token, run in naive_runs(tokens, set(s.dry.breakers)).items():
            if run >= s.dry.allowed_length:
                values[token] -= s.dry.multiplier * s.dry.base ** (run - s.dry.allowed_length)
    counts = Counter(tokens)
    for token, count in counts.items():
        values[token] -= count * s.frequency_penalty + s.presence_penalty
    for token in counts:
        factor = s.repetition_penalty
        values[token] = values[token] / factor if values[token] > 0 else values[token] * factor
    return np.array(values)


def naive_filter(logits: np.ndarray, s: Sampling) -> list[tuple[int, float]]:
    """Return the surviving (token, probability), most likely first."""
    scaled = logits.astype(np.float64) / s.temperature
    weights = np.exp(scaled - scaled.max())
    probs = weights / weights.sum()
    ranked = sorted(range(len(probs)), key=lambda i: (-logits[i], i))
    left = [(i, float(probs[i])) for i in ranked]
    if s.top_k > 0:
        left = left[: s.top_k]
    if 0 < s.top_p < 1:
        kept, running = [], 0.0
        for item in left:
            kept.append(item)
            running += item[1]
            differ(running, s.top_p)
            if running >= s.top_p:
                break
        left = kept
    if 0 < s.min_p < 1:
        lowest = probs.max() * s.min_p
        for _, p in left:
            differ(p / lowest, 1.0)
        left = [(i, p) for i, p in left if p > lowest]
    return left


def naive_draw(logits: np.ndarray, s: Sampling, chance: float) -> int:
    left = naive_filter(logits, s)
    target, running = chance * sum(p for _, p in left), 0.0
    for token, p in left:
        running += p
        differ(running, target)
        if running > target:
            return token
    raise AssertionError("the running sum ends at the total")


# --- random numbers ---


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers published with Random123
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD,) * 4, (WORD, WORD), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    assert philox(counter, key) == words


def test_uniform_is_in_range_even_and_its_arguments_matter():
    draws = np.array([uniform(s, c, p) for s in range(10) for c in range(10) for p in range(50)])
    assert len(set(draws)) == 5000
    assert draws.min() >= 0
    assert draws.max() < 1
    bins = np.bincount((draws * 20).astype(int), minlength=20)
    assert ((bins - 250) ** 2 / 250).sum() < 43.8  # chi-square, 19 degrees of freedom, 0.1 %
    assert uniform(-1, 0, 0) == uniform(2**64 - 1, 0, 0)
    assert uniform(2**32, 0, 0) != uniform(0, 0, 0)


# --- penalties ---

tokens_of_few = st.lists(st.integers(0, 4), max_size=150)


@quick
@given(tokens_of_few, st.sets(st.integers(0, 4), max_size=2))
@example([1] * 120, set())
@example([0, 1, 2, 3] * 30, {3})
@example([0, 1, 2, 3] * 30 + [0, 1], {3})
@example([2], set())
def test_longest_runs_follow_the_description(tokens, breakers):
    found = longest_runs(np.array(tokens, np.int64), frozenset(breakers))
    assert found == naive_runs(tokens, breakers)


@quick
@given(
    tokens=st.lists(st.integers(0, 29), max_size=60),
    seed=st.integers(0, 99),
    frequency=st.sampled_from([0.0, 0.3, -1.0, 2.0]),
    presence=st.sampled_from([0.0, 0.7, -2.0]),
    repetition=st.sampled_from([1.0, 1.3, 0.8]),
    dry=st.sampled_from([None, Dry(0.8), Dry(2.0, 1.2, 1, frozenset({3, 4}))]),
    bias=st.dictionaries(st.integers(0, 29), st.floats(-100, 100), max_size=5),
)
def test_penalties_follow_the_description(tokens, seed, frequency, presence, repetition, dry, bias):
    rules = Sampling(
        frequency_penalty=frequency,
        presence_penalty=presence,
        repetition_penalty=repetition,
        dry=dry,
        logit_bias=bias,
    )
    logits = noise(seed, 30)
    untouched = logits.copy()
    penalties = Penalties.start(rules, tokens[:20])
    if penalties is None:
        assert rules == Sampling(dry=dry)
        return
    for token in tokens[20:]:
        penalties.history.add(token)
    np.testing.assert_allclose(
        penalties.apply(logits), naive_penalties(logits, rules, tokens), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(logits, untouched)


@pytest.mark.parametrize(
    ("frequency", "presence", "expected"),
    [
        (0.5, 0.0, [1.0, 0.5, 0.0, -0.5]),
        (0.0, 0.5, [1.0, 0.5, 0.5, 0.5]),
        (1.0, 0.25, [1.0, -0.25, -1.25, -2.25]),
        (-1.0, 0.0, [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_frequency_and_presence(frequency, presence, expected):
    rules = Sampling(frequency_penalty=frequency, presence_penalty=presence)
    penalties = Penalties.start(rules, [1, 2, 2, 3, 3, 3])
    assert penalties.apply(np.ones(4, np.float32)).tolist() == expected


def test_media_ids_above_the_vocabulary_are_only_context():
    rules = Sampling(frequency_penalty=1.0, repetition_penalty=2.0, dry=Dry(1.0, allowed_length=1))
    media = 2**62 + 5
    penalties = Penalties.start(rules, [1, media, 1, media, 1])
    assert penalties.apply(np.zeros(3, np.float32)).tolist() == [0.0, -6.0, 0.0]


@quick
@given(tokens_of_few, st.integers(0, 150), tokens_of_few)
def test_history_truncates_to_what_it_was(tokens, length, more):
    history = History(tokens)
    history.truncate(length)
    for token in more:
        history.add(token)
    expected = tokens[:length] + more
    assert history.tokens().tolist() == expected
    ids, counts = history.counts(5)
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == Counter(expected)


def test_huge_dry_penalty_forbids():
    rules = Sampling(temperature=0, dry=Dry(5.0, base=1e300, allowed_length=1))
    assert one([0.0, 9.0], rules, [0, 1, 0, 1, 0, 1, 0]).id == 0


# --- filters and draws ---

temperatures = st.sampled_from([1e-6, 0.3, 0.7, 1.0, 1.9, 30.0])
filters = st.builds(
    Sampling,
    temperature=temperatures,
    top_k=st.sampled_from([0, 0, -1, 1, 2, 7, 40, 5000]),
    top_p=st.sampled_from([1.0, 1.0, 0.0, 1e-9, 0.3, 0.9, 0.99]),
    min_p=st.sampled_from([0.0, 0.0, 0.001, 0.05, 0.5, 0.999]),
    seed=st.integers(0, 2**64 - 1),
)


@quick
@given(
    logits=st.lists(
        st.floats(-40, 40, width=32) | st.sampled_from([0.0, 1.0, -math.inf]),
        min_size=1,
        max_size=50,
    ),
    rules=filters,
    position=st.integers(0, 9999),
)
@example([0.0], Sampling(top_k=5, top_p=0.0), 0)
@example([-0.0, 0.0, 0.0], Sampling(top_k=1), 3)
def test_draws_follow_the_description(logits, rules, position):
    assume(max(logits) > -math.inf)
    values = np.array(logits, np.float32)
    try:
        expected = naive_draw(values, rules, uniform(rules.seed, 2, position))
    except Tie:
        reject()
    assert one(values, rules, position=position, choice=2).id == expected


@quick
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.01, 1.0, 4.0, 9.0]),
    grid=st.sampled_from([None, 0.5, 4.0]),
    rules=filters,
)
def test_prefix_and_full_sort_choose_the_same(seed, spread, grid, rules):
    logits = noise(seed, 5000, spread)
    if grid is not None:  # many equal logits
        logits = np.round(logits / grid).astype(np.float32) * np.float32(grid)
    rows = [Row(rules, position=p) for p in range(20)]
    found = sample(torch.tensor(logits).expand(20, -1), rows)
    with patch.object(ranking, "SMALL", 10**9):
        assert found == sample(torch.tensor(logits).expand(20, -1), rows)


@quick
@given(st.integers(0, 10**6), st.sampled_from([0.5, 3.0, 9.0]), temperatures)
def test_rankings_are_prefixes_bit_for_bit_and_mass_is_bounded(seed, spread, temperature):
    logits = noise(seed, 4000, spread)
    *short, full = rankings(logits, float(logits.max()), temperature)
    assert full.complete
    assert full.ids.tolist() == sorted(range(4000), key=lambda i: (-logits[i], i))
    for prefix in short:
        size = len(prefix.ids)
        assert not prefix.complete
        assert (prefix.ids == full.ids[:size]).all()
        assert (prefix.sums == full.sums[:size]).all()
    total = mass(logits, float(logits.max()), temperature)
    assert abs(total / full.sums[-1] - 1) < ERROR / 2


@pytest.mark.parametrize(
    "rules",
    [
        Sampling(),
        Sampling(temperature=0.6),
        Sampling(temperature=1.7, top_k=8),
        Sampling(top_p=0.8),
        Sampling(min_p=0.1),
        Sampling(temperature=1.2, top_k=12, top_p=0.9, min_p=0.02),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [24, 3000])
def test_frequencies_match_the_probabilities(rules, size):
    logits, draws = noise(1, size, 2.0), 4000
    left = naive_filter(logits, rules)
    total = sum(p for _, p in left)
    table = torch.tensor(logits).expand(draws, -1)
    seen = Counter(t.id for t in sample(table, [Row(rules, position=p) for p in range(draws)]))
    assert seen.keys() <= {token for token, _ in left}
    common = [(seen[t], p / total * draws) for t, p in left if p / total * draws >= 5]
    rest = draws - sum(count for count, _ in common), draws - sum(mean for _, mean in common)
    cells = common + [rest] * (rest[1] >= 5)
    chi = sum((count - mean) ** 2 / mean for count, mean in cells)
    freedom = len(cells) - 1
    assert chi < freedom + 3.3 * math.sqrt(2 * freedom) + 4


def test_other_rows_do_not_matter():
    table = torch.tensor(np.stack([noise(i, 3000) for i in range(6)]))
    rules = [
        Sampling(seed=1, logprobs=3),
        Sampling(temperature=0),
        Sampling(seed=3, top_p=0.9),
        Sampling(seed=4, frequency_penalty=1.0, logprobs=0),
        Sampling(temperature=0, repetition_penalty=1.5),
        Sampling(seed=1),
    ]
    rows = [row(s, [i, 7, 7], position=i, choice=i) for i, s in enumerate(rules)]
    together = sample(table, rows)
    backwards = sample(table.flip(0), rows[::-1])[::-1]
    alone = [sample(table[i : i + 1], [rows[i]])[0] for i in range(6)]
    assert together == backwards == alone


def test_position_choice_and_seed_change_the_draw():
    logits, rules = torch.zeros(1, 1000), Sampling(seed=5)
    rows = [Row(rules), Row(rules, position=1), Row(rules, choice=1), Row(Sampling(seed=6))]
    ids = [sample(logits, [r])[0].id for r in rows]
    assert len(set(ids)) == 4
    assert ids == [sample(logits, [r])[0].id for r in rows]


# --- transformers as an outside reference ---


@pytest.mark.parametrize(
    ("rules", "warper"),
    [
        (Sampling(temperature=0.7), None),
        (Sampling(temperature=0.7, top_k=50), hf.TopKLogitsWarper(50)),
        (Sampling(temperature=1.4, top_p=0.9), hf.TopPLogitsWarper(0.9)),
        (Sampling(temperature=1.4, top_p=0.2), hf.TopPLogitsWarper(0.2)),
        (Sampling(temperature=0.7, min_p=0.03), hf.MinPLogitsWarper(0.03)),
    ],
)
def test_kept_tokens_match_transformers(rules, warper):
    logits = noise(3, 5000, 2.5)
    scores = hf.TemperatureLogitsWarper(rules.temperature)(None, torch.tensor(logits)[None])
    if warper is not None:
        scores = warper(torch.zeros(1, 1, dtype=torch.long), scores)
    full = list(rankings(logits, float(logits.max()), rules.temperature))[-1]
    count = int(sampler.kept(full, rules, full.sums[-1]))
    theirs = scores[0].double().softmax(0).numpy()
    assert set(full.ids[:count].tolist()) == set(np.flatnonzero(theirs).tolist())
    ours = full.weights[:count] / full.sums[count - 1]
    np.testing.assert_allclose(ours, theirs[full.ids[:count]], rtol=1e-5)


def test_repetition_penalty_matches_transformers():
    logits, tokens = noise(4, 300), [5, 5, 17, 200, 3]
    ours = Penalties.start(Sampling(repetition_penalty=1.4), tokens).apply(logits)
    theirs = hf.RepetitionPenaltyLogitsProcessor(1.4)(
        torch.tensor([tokens]), torch.tensor(logits)[None]
    )
    np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=1e-6)


# --- log-probabilities ---


@pytest.mark.parametrize("size", [10, 3000])
@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_logprobs_are_of_the_raw_logits(size, temperature):
    logits = noise(5, size)
    rules = Sampling(
        temperature=temperature, top_k=3, logit_bias={3: 20.0}, presence_penalty=2.0, logprobs=5
    )
    token = one(logits, rules, [1, 2, 2])
    expected = torch.tensor(logits).double().log_softmax(0)
    best = expected.topk(5)
    assert token.id == 3  # the bias decides the choice, not the report
    assert token.logprob == pytest.approx(float(expected[3]), abs=1e-6)
    assert [i for i, _ in token.top] == best.indices.tolist()
    assert [x for _, x in token.top] == pytest.approx(best.values.tolist(), abs=1e-6)


@pytest.mark.parametrize(("asked", "given"), [(None, None), (0, 0), (2, 2), (9, 3)])
def test_number_of_alternatives(asked, given):
    token = one([1.0, 2.0, 0.5, -math.inf], Sampling(temperature=0, logprobs=asked))
    assert (token.logprob is None) == (asked is None)
    assert len(token.top) == (given or 0)


# --- edges and errors ---


@pytest.mark.parametrize(
    ("logits", "rules", "expected"),
    [
        ([2.0], Sampling(top_k=50, top_p=0.0, min_p=0.9), 0),
        ([1.0, 3.0, 3.0], Sampling(temperature=0), 1),
        ([1.0, 3.0, 3.0], Sampling(temperature=9e-8), 1),
        ([1.0, 3.0, 3.0], Sampling(top_k=1), 1),
        ([0.0, 3e38, -3e38], Sampling(), 1),
        ([-3e38, -3e38, -math.inf], Sampling(top_p=0.4), 0),
        ([-math.inf, -5.0], Sampling(temperature=1e30), 1),
        ([-math.inf, -5.0], Sampling(temperature=1e300), 1),
        ([0.0, 1.0, 2.0], Sampling(top_p=1e-12), 2),
        ([0.0, 1.0, 2.0], Sampling(temperature=0, logit_bias={0: 5.0}), 0),
        ([0.0, 1.0, 2.0], Sampling(temperature=0, logit_bias={2: -math.inf}), 1),
    ],
)
def test_edges(logits, rules, expected):
    assert one(logits, rules).id == expected


@pytest.mark.parametrize(
    ("chance", "logits", "expected"),
    [
        (0.0, [-math.inf, 1.0, 2.0], 2),
        (0.5, [1.0, 1.0, -1000.0], 1),  # a running sum equal to the target has not passed it
        (math.nextafter(0.5, 0), [1.0, 1.0, -1000.0], 0),
        (1 - 2**-53, [1.0, 1.0, -1000.0], 1),  # never a token without weight
        (1 - 2**-53, [1.0] + [-34.0] * 3 + [-1000.0], 3),
    ],
)
def test_draws_at_the_ends(chance, logits, expected):
    values = np.array(logits, np.float32)
    assert sampler.draw(values, float(values.max()), Sampling(), chance) == expected


def test_huge_temperature_is_uniform():
    size, draws = 4, 2000
    table = torch.tensor([[0.0, 50.0, -50.0, 9.0]]).expand(draws, -1)
    rows = [Row(Sampling(temperature=1e30), position=p) for p in range(draws)]
    seen = Counter(t.id for t in sample(table, rows))
    assert all(abs(seen[i] - draws / size) < 4 * math.sqrt(draws / size) for i in range(size))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
def test_a_broken_row_has_its_error_in_its_place(temperature, bad):
    rows = [Row(Sampling(temperature=temperature, top_k=1))] * 3
    first, second, third = sample(torch.tensor([[0.0, 1.0], bad, [1.0, 0.0]]), rows)
    assert (first, third) == (Token(1), Token(0))
    assert isinstance(second, EngineError)


def test_bias_outside_the_vocabulary_is_a_request_error():
    with pytest.raises(RequestError, match="token 7; use ids from 0 to 2"):
        one([0.0, 1.0, 2.0], Sampling(logit_bias={7: 1.0}))


def test_allowed_tokens_only():
    logits = noise(6, 3000)
    allow = np.zeros(375, np.uint8)
    allow[[0, 1]] = 1 << 4, 1 << 1
    ids = {one(logits, Sampling(seed=s), allow=allow).id for s in range(40)}
    assert ids == {4, 9}
    cut = torch.full((3000,), 1.0)
    cut[[4, 9]] = -math.inf
    ids = {one(cut, Sampling(seed=s), allow=allow).id for s in range(40)}
    assert ids == {4, 9}, "falls back to what is allowed"
    assert one(logits, Sampling(), allow=allow[:1]).id == 4, "bits that are missing are 0"
    assert one(logits, Sampling(logprobs=0), forced=7).id == 7
    with pytest.raises(EngineError, match="allow at least one"):
        one(logits, Sampling(), allow=np.zeros(375, np.uint8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    logits = torch.tensor([[1.0, 3.0, 2.0]], dtype=dtype)
    assert sample(logits, [Row(Sampling(temperature=0))]) == [Token(1)]


def test_largest_is_what_the_rows_choose():
    table = torch.tensor([[1.0, 2.0, 2.0], [0.0, math.nan, 3.0], [-math.inf] * 3, [5.0, 1.0, 1.0]])
    there = sampler.largest(table)
    here = sample(table, [Row(Sampling(temperature=0))] * 4)
    assert [str(r) for r in there] == [str(r) for r in here]
    assert [type(r) for r in there] == [Token, EngineError, EngineError, Token]
