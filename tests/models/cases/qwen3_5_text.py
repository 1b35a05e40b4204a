"""Qwen 3.5, text only."""

from tests.models.case import Case

DELTA = dict(
    head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
    linear_value_head_dim=24,
)  # fmt: skip

CASES = {
    "": Case("Qwen3_5", DELTA, config="Qwen3_5Text", norm=0.0),
    "equal heads, 3 taps, tied": Case(
        "Qwen3_5",
        DELTA
        | dict(linear_num_key_heads=4, linear_conv_kernel_dim=3)
        | dict(tie_word_embeddings=True),
        config="Qwen3_5Text",
        norm=0.0,
    ),
}
