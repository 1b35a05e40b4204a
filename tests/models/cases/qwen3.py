"""Qwen 3: q and k norms."""

from tests.models.case import YARN, Case, rope

WINDOW = dict(use_sliding_window=True, sliding_window=6, max_window_layers=1)

CASES = {
    "": Case("Qwen3", dict(head_dim=32)),
    "biases, yarn": Case("Qwen3", dict(attention_bias=True) | rope("yarn", **YARN)),
    "window, tied": Case("Qwen3", dict(tie_word_embeddings=True, head_dim=16) | WINDOW),
}
