"""The likely tokens of one row in order, sorted no further than needed.

Every filter (top-k, top-p, min-p) keeps a prefix of one order: falling logit, ties by id. So a row
needs only the prefix in which its draw ends. Weights are exp((logit - peak) / temperature), in
float64; running sums go along the order, so a prefix has the very bits of the full sort.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]

REACHES = (3.0, 6.0, 12.0)  # how far below the peak a prefix goes, in nats
HOTTEST = 1e6  # temperature up to which float32 weights are as exact as ERROR says
SMALL = 2048  # sorting so few is as quick as choosing among them
ERROR = 2e-5  # relative; float32 weights above exp(-40) are within 1e-5, all others do not count


@dataclass(frozen=True)
class Ranking:
    """A prefix of the order: ids [n], falling weights [n] from 1 on, their running sums [n]."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    sums: NDArray[np.float64]
    complete: bool  # nothing but tokens of logit -inf is missing


def ordered(values: Logits, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids [n] by falling value, ties by id: value bits over id bits, one sort."""
    keys = (np.float32(0) - values).view(np.int32).astype(np.int64)  # 0 - x: one zero, not two
    keys ^= (keys >> 63) & 0x7FFFFFFF  # negative floats order backwards
    keys = keys << 32 | ids
    keys.sort()
    return keys & 0xFFFFFFFF


def rank(
    logits: Logits, ids: NDArray[np.int64], peak: float, temperature: float, complete: bool
) -> Ranking:
    """Put the tokens `ids` of logits [V] in order and weigh them."""
    order = ordered(logits[ids], ids)
    weights = np.exp((logits[order].astype(np.float64) - peak) / temperature)
    return Ranking(order, weights, np.cumsum(weights), complete)


def rankings(logits: Logits, peak: float, temperature: float) -> Iterator[Ranking]:
    """Yield longer and longer prefixes of the order of logits [V]; the last one is complete."""
    short = logits.size > SMALL and temperature <= HOTTEST
    for reach in REACHES if short else ():
        lowest = np.float32(max(peak - temperature * reach, -3e38))
        ids = np.flatnonzero(logits > lowest)
        if ids.size > logits.size // 4:
            break
        if ids.size:
            yield rank(logits, ids, peak, temperature, complete=False)
    ids = np.flatnonzero(logits > -np.inf)
    yield rank(logits, ids, peak, temperature, complete=True)


def mass(logits: Logits, peak: float, temperature: float) -> float:
    """Return the sum of the weights of logits [V] within a factor of 1 +- ERROR (up to HOTTEST)."""
    with np.errstate(over="ignore", invalid="ignore"):  # far below the peak, or beyond HOTTEST
        weights = logits - np.float32(peak)
        weights /= np.float32(temperature)
        np.exp(weights, out=weights)
    return float(weights.sum(dtype=np.float64))
