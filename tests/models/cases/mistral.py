"""Mistral with and without its window."""

from tests.models.case import Case

CASES = {
    "": Case("Mistral", dict(sliding_window=None)),
    "window": Case("Mistral", dict(sliding_window=6, head_dim=32)),
}
