"""Mixtral: two of eight experts."""

from tests.models.case import Case

CASES = {
    "": Case("Mixtral", dict(num_local_experts=8, num_experts_per_tok=2)),
    "window, tied, three of five": Case(
        "Mixtral",
        dict(
            num_local_experts=5,
            num_experts_per_tok=3,
            sliding_window=6,
            head_dim=32,
            tie_word_embeddings=True,
        ),
    ),
}
