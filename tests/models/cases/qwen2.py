"""Qwen 2: biases, tied heads, windows on the last layers."""

from tests.models.case import Case

CASES = {
    "": Case("Qwen2"),
    "tied": Case("Qwen2", dict(tie_word_embeddings=True)),
    "window on the last layers": Case(
        "Qwen2", dict(use_sliding_window=True, sliding_window=6, max_window_layers=2)
    ),
}
