"""StarCoder 2: with and without biases and window."""

from tests.models.case import Case

CASES = {
    "": Case("Starcoder2", dict(tie_word_embeddings=True, sliding_window=6)),
    "no biases": Case("Starcoder2", dict(use_bias=False, num_key_value_heads=1)),
}
