"""Logits to tokens: penalties, temperature, softmax, top-k, top-p, min-p, draw (docs/sampling.md).

The token of a row does not depend on the other rows, nor on earlier calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mistralrs.api.errors import EngineError, MistralRsError
from mistralrs.api.piece import Token
from mistralrs.api.prompt import Sampling
from mistralrs.engine.penalties import Penalties
from mistralrs.engine.philox import uniform
from mistralrs.engine.ranking import ERROR, Ranking, mass, rankings

Logits = NDArray[np.float32]
Bits = NDArray[np.uint8]

FLOOR = np.float32(-1e30)  # logits of allowed tokens, when all of them are cut
# The largest logit of 8 tokens for each byte of a mask [256, 8]: inf where the bit is set, else -inf.
CEILINGS = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, inf, -inf).astype(np.float32)
GREEDY = 1e-7  # temperatures below are 0


@dataclass(frozen=True)
class Row:
    """What the sampler must know about one row of logits."""

    sampling: Sampling
    position: int = 0  # tokens generated so far
    choice: int = 0  # index of the continuation
    penalties: Penalties | None = None  # from Penalties.start(sampling, tokens)
    allow: Bits | None = None  # [V / 8], bit 0 first; 0 is forbidden (grammars)
    forced: int | None = None  # the token to take, whatever the logits say (grammars)

    @property
    def plain(self) -> bool:
        """True if the token is the largest logit and nothing else is asked for."""
        ruled = self.allow is not None or self.forced is not None
        changed = self.penalties is not None or ruled
        return self.sampling.temperature < GREEDY and self.sampling.logprobs is None and not changed


def sample(logits: Tensor, rows: Sequence[Row]) -> list[Token | MistralRsError]:
    """Choose one token for each row; logits [R, V], any float dtype and device.

    A row that cannot be sampled (NaN, nothing allowed, a bad bias) has its error in its place.
    """
    assert logits.shape[0] == len(rows), "one Row for each row of logits"
    if logits.device.type != "cpu" and all(row.plain for row in rows):
        return largest(logits)
    host = (
        logits.is_cpu and logits.dtype is torch.float32
    )  # `to` costs more than it looks, even for nothing
    table = (logits if host else logits.float().cpu()).numpy()
    return [attempt(values, row) for values, row in zip(table, rows, strict=True)]


def largest(logits: Tensor) -> list[Token | MistralRsError]:
    """Choose the largest of each row where the logits [R, V] are; only the choices travel."""
    ids = logits.argmax(-1, keepdim=True)  # the first of ties, and NaN above all, as in numpy
    peaks = logits.gather(-1, ids).flatten().tolist()
    pairs = zip(ids.flatten().tolist(), peaks, strict=True)
    return [Token(token) if isfinite(peak) else broken(peak) for token, peak in pairs]


def attempt(logits: Logits, row: Row) -> Token | MistralRsError:
    """Choose the token of one row, or return what went wrong; logits [V]."""
    try:
        return choose(logits, row)
    except MistralRsError as error:
        return error


def choose(raw: Logits, row: Row) -> Token:
    """Choose the token of one row; raw [V] are the model's own logits and stay as they are."""
    token, peak = leader(raw)
    own, logits, sampling = peak, raw, row.sampling
    if row.forced is not None:
        token = row.forced
    elif row.penalties is not None or row.allow is not None:
        logits = changed(raw, row)
        token, peak = leader(logits)
    if row.forced is None and sampling.temperature >= GREEDY:
        token = draw(logits, peak, sampling, uniform(sampling.seed, row.choice, row.position))
    if sampling.logprobs is None:
        return Token(token)
    return report(raw, own, token, sampling.logprobs)


def leader(logits: Logits) -> tuple[int, float]:
    """Return the first of the largest logits [V] and its value; EngineError if not finite."""
    token = int(logits.argmax())  # NaN is the largest
    peak = float(logits[token])
    if not isfinite(peak):
        raise broken(peak)
    return token, peak


def broken(peak: float) -> EngineError:
    """Return the error for logits whose largest value is `peak`."""
    if peak == -inf:
        return EngineError("no token can follow: allow at least one (check grammar and logit_bias)")
    return EngineError(f"the model computed {peak} logits: check its files, or load it as float32")


def changed(raw: Logits, row: Row) -> Logits:
    """Return the logits [V] after the penalties, with forbidden tokens at -inf."""
    logits = raw if row.penalties is None else row.penalties.apply(raw)
    if row.allow is None:
        return logits
    most = CEILINGS.take(row.allow[: -(-raw.size // 8)], axis=0).reshape(-1)[: raw.size]
    rest = np.full(raw.size - most.size, -inf, np.float32)  # ids that the grammar does not know
    ceiling = np.concatenate([most, rest]) if rest.size else most
    choices = np.minimum(logits, ceiling)
    if choices.max() > -inf:
        return choices
    return np.minimum(np.maximum(raw, FLOOR), ceiling)  # the penalties left nothing


def draw(logits: Logits, peak: float, sampling: Sampling, chance: float) -> int:
    """Return the token where the running sum of kept weights passes `chance` of their total.

    logits [V]. A short prefix decides if the least and the greatest possible total lead to the same
    token. The complete ranking is the definition; the answer does not depend on how it was found.
    """
    totals = bounds(logits, peak, sampling)
    for ranking in rankings(logits, peak, sampling.temperature):
        if ranking.complete:
            totals = (float(ranking.sums[-1]),)
        places = {place(ranking, sampling, chance, total) for total in totals}
        if len(places) == 1 and (found := places.pop()) is not None:
            return int(ranking.ids[found])
    raise AssertionError("a complete ranking decides")


def bounds(logits: Logits, peak: float, sampling: Sampling) -> tuple[float, ...]:
    """Return the least and greatest sum that all weights can have, if the draw depends on it."""
    cut = sampling.top_k > 0 or 0 < sampling.min_p < 1
    if cut and not 0 < sampling.top_p < 1:
        return (inf,)
    total = mass(logits, peak, sampling.temperature)
    return total * (1 - ERROR), total * (1 + ERROR)


def place(ranking: Ranking, sampling: Sampling, chance: float, total: float) -> int | None:
    """Return where in the ranking the draw ends; None if that takes a longer one."""
    count = kept(ranking, sampling, total)
    if count <= len(ranking.ids):
        total = float(ranking.sums[int(count) - 1])
    elif count < inf:
        return None
    target = chance * total  # < total, also rounded: chance is at most 1 - 2**-53
    found = int(np.searchsorted(ranking.sums, target, side="right"))
    return found if found < len(ranking.ids) else None


def kept(ranking: Ranking, sampling: Sampling, total: float) -> float:
    """Return how many tokens the filters leave: inf without any, > size if the ranking is short."""
    size = len(ranking.ids)
    limits = [float(size) if ranking.complete else inf]
    if sampling.top_k > 0:
        limits.append(sampling.top_k)
    if 0 < sampling.top_p < 1:
        limits.append(1 + int(np.searchsorted(ranking.sums, sampling.top_p * total)))
    if 0 < sampling.min_p < 1:
        above = int(np.count_nonzero(ranking.weights > sampling.min_p))
        limits.append(above if above < size or ranking.complete else size + 1)
    return min(limits)


def report(raw: Logits, peak: float, token: int, count: int) -> Token:
    """Return the token with the natural log-probabilities of it and the top; raw logits [V]."""
    base = peak + math.log(mass(raw, peak, 1.0))
    top: list[int] = []
    for ranking in rankings(raw, peak, 1.0) if count else ():
        top = ranking.ids[:count].tolist()
        if len(top) == count:
            break
    pairs = tuple((other, float(raw[other]) - base) for other in top)
    return Token(token, float(raw[token]) - base, pairs)
