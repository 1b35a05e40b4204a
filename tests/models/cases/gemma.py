"""Gemma: tied, with the names that its activation had."""

from tests.models.case import Case

CASES = {
    "": Case("Gemma", dict(tie_word_embeddings=True, head_dim=32), norm=0.0),
    "one kv head, old name": Case(
        "Gemma",
        dict(tie_word_embeddings=True, head_dim=32, num_key_value_heads=1, hidden_act="gelu"),
        norm=0.0,
    ),
}
