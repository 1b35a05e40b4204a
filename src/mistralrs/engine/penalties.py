"""Rules that move logits by what the sequence already says: bias, DRY, counts, repetition."""

from array import array
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mistralrs.api.errors import RequestError
from mistralrs.api.prompt import Dry, Sampling

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

LONGEST_RUN = 50  # DRY looks back no further


class History:
    """The tokens of one sequence, prompt included, each counted once, when it is added."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = array("q", tokens)
        ids, counts = np.unique(np.array(self._tokens), return_counts=True)
        self._ids, self._counts = array("q", ids.tolist()), array("q", counts.tolist())
        self._slots = {token: slot for slot, token in enumerate(self._ids)}

    def add(self, token: int) -> None:
        """Append one token."""
        self._tokens.append(token)
        slot = self._slots.setdefault(token, len(self._ids))
        if slot == len(self._ids):
            self._ids.append(token)
            self._counts.append(0)
        self._counts[slot] += 1

    def truncate(self, length: int) -> None:
        """Forget the tokens from position `length` on."""
        for token in self._tokens[length:]:
            self._counts[self._slots[token]] -= 1
        del self._tokens[length:]

    def tokens(self) -> Ids:
        """Return a copy of all tokens, in order."""
        return np.array(self._tokens)

    def counts(self, vocabulary: int) -> tuple[Ids, Ids]:
        """Return the ids that occur below `vocabulary` (media ids lie above) and their counts."""
        ids, counts = np.array(self._ids), np.array(self._counts)
        seen = (counts > 0) & (ids < vocabulary)
        return ids[seen], counts[seen]


Rule = Callable[[Logits, History], None]  # changes the logits [V] in place


def bias_rule(bias: Mapping[int, float]) -> Rule:
    """Add a number to the logits of some ids."""
    ids = np.fromiter(bias, np.int64, len(bias))
    values = np.fromiter(bias.values(), np.float64, len(bias))

    def apply(logits: Logits, history: History) -> None:
        wrong = ids[(ids < 0) | (ids >= logits.size)]
        if wrong.size:
            raise RequestError(
                f"logit_bias names token {wrong[0]}; use ids from 0 to {logits.size - 1}"
            )
        logits[ids] = logits[ids] + values

    return apply


def longest_runs(tokens: Ids, breakers: frozenset[int]) -> dict[int, int]:
    """Return the tokens that would prolong a repetition, with the longest run each prolongs."""
    last = len(tokens) - 1
    if last < 1 or int(tokens[last]) in breakers:
        return {}
    runs: dict[int, int] = {}
    ends = np.flatnonzero(tokens[:last] == tokens[last])
    for length in range(1, LONGEST_RUN + 1):
        runs.update(dict.fromkeys(tokens[ends + 1].tolist(), length))
        earlier = last - length
        if earlier < 0 or int(tokens[earlier]) in breakers:
            break
        ends = ends[ends >= length]
        ends = ends[tokens[ends - length] == tokens[earlier]]
        if not ends.size:
            break
    return {token: length for token, length in runs.items() if token not in breakers}


def dry_rule(dry: Dry) -> Rule:
    """Subtract `multiplier * base ** (run - allowed_length)` from tokens that prolong a run."""

    def apply(logits: Logits, history: History) -> None:
        runs = longest_runs(history.tokens(), dry.breakers)
        hit = [t for t, run in runs.items() if run >= dry.allowed_length and t < logits.size]
        powers = np.array([runs[t] for t in hit], np.float64) - dry.allowed_length
        logits[hit] = logits[hit] - dry.multiplier * np.float64(dry.base) ** powers

    return apply


def count_rule(frequency: float, presence: float) -> Rule:
    """Subtract `frequency` for every occurrence and `presence` once from tokens that occurred."""

    def apply(logits: Logits, history: History) -> None:
        ids, counts = history.counts(logits.size)
        logits[ids] = logits[ids] - (counts * np.float64(frequency) + presence)

    return apply


def repetition_rule(factor: float) -> Rule:
    """Divide positive, multiply negative logits of tokens that occurred (arXiv:1909.05858)."""

    def apply(logits: Logits, history: History) -> None:
        ids, _ = history.counts(logits.size)
        old = logits[ids].astype(np.float64)
        logits[ids] = np.where(old > 0, old / factor, old * factor)

    return apply


def rules(sampling: Sampling) -> list[Rule]:
    """Return the rules that are switched on, in the order in which they apply."""
    frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
    active = []
    if sampling.logit_bias:
        active.append(bias_rule(sampling.logit_bias))
    if sampling.dry is not None and sampling.dry.multiplier != 0:
        active.append(dry_rule(sampling.dry))
    if frequency != 0 or presence != 0:
        active.append(count_rule(frequency, presence))
    if sampling.repetition_penalty != 1:
        active.append(repetition_rule(sampling.repetition_penalty))
    return active


class Penalties:
    """The rules of one sequence and its history; the engine adds every token that it commits."""

    def __init__(self, rules: list[Rule], tokens: Sequence[int]) -> None:
        self._rules = rules
        self.history = History(tokens)

    @classmethod
    def start(cls, sampling: Sampling, tokens: Sequence[int]) -> "Penalties | None":
        """Return the penalties of a sequence beginning with `tokens`; None if every rule is off."""
        active = rules(sampling)
        return cls(active, tokens) if active else None

    def apply(self, logits: Logits) -> Logits:
        """Return changed logits, [V] -> [V]. RequestError for a bias outside the vocabulary."""
        changed = logits.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # the sampler looks at the outcome
            for rule in self._rules:
                rule(changed, self.history)
        return changed
