"""How large the numbers of a config.json may be that a stranger chose: a model is drawn layer by layer."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mistralrs.api.errors import ConfigError

# What a key contains, and the largest number that it may have; real models stay far below.
BOUNDS = (
    (re.compile("theta|factor|scal|multiplier"), math.inf),  # only computed with
    (re.compile("layers|depth$|blocks|n_layer"), 512),
    (re.compile("vocab|position|context|length|token|_id|_ids"), 1 << 26),
    (re.compile("dim|hidden|head|rank|embed"), 1 << 17),
    (re.compile(""), 1 << 24),
)
ITEMS = 4096  # of a list


def check_bounds(raw: Mapping[str, Any]) -> None:
    """Raise ConfigError for a number or a list that no real model has."""
    for key, value in numbers(raw):
        most = next(limit for words, limit in BOUNDS if words.search(key))
        if value > most:
            raise ConfigError(
                f"config.json: {key} is {value:,}; more than {most:,} is not drawn here"
            )


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number below a value, with the nearest key; raises ConfigError for a long list."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from numbers(inner, str(name))
    elif isinstance(value, list):
        if len(value) > ITEMS:
            raise ConfigError(
                f"config.json: {key} has {len(value):,} items; more than {ITEMS:,} are not drawn here"
            )
        for inner in value:
            yield from numbers(inner, key)
    elif isinstance(value, int):
        yield key, value
