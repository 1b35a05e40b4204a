"""Phi 3: windows, partial rope, LongRoPE below and above its threshold."""

from tests.models.case import Case, rope


def longrope(trained: int, count: int = 8, **spec) -> dict:
    """LongRoPE trained up to `trained` tokens."""
    factors = dict(
        short_factor=[1.0 + 0.05 * i for i in range(count)],
        long_factor=[1.0 + 0.5 * i for i in range(count)],
    )
    scaled = rope("longrope", **factors, original_max_position_embeddings=trained, **spec)
    return scaled | dict(original_max_position_embeddings=trained)


CASES = {
    "": Case("Phi3"),
    "window": Case("Phi3", dict(sliding_window=6, num_key_value_heads=4)),
    "partial, tied": Case(
        "Phi3", dict(tie_word_embeddings=True) | rope("default", partial_rotary_factor=0.75)
    ),
    "longrope, short": Case("Phi3", longrope(64)),
    "longrope, long": Case("Phi3", longrope(24)),
    "longrope, one of each": Case("Phi3", longrope(40)),  # of the test's 43 and 35 tokens
    "longrope, partial, own temperature": Case(
        "Phi3", longrope(24, 6, partial_rotary_factor=0.75, attention_factor=1.3)
    ),
}
