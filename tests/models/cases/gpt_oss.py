"""gpt-oss: sinks, windows, clamped experts with biases."""

from tests.models.case import YARN, Case, rope

EXPERTS = dict(num_local_experts=8, num_experts_per_tok=3, sliding_window=6, head_dim=16)
STRETCH = rope("yarn", truncate=False, beta_fast=32.0, beta_slow=1.0, **YARN)

CASES = {
    "": Case("GptOss", EXPERTS | STRETCH),
    "no biases, tight clamp, tied": Case(
        "GptOss",
        EXPERTS
        | rope("default")
        | dict(attention_bias=False, tie_word_embeddings=True, swiglu_limit=0.5, head_dim=32)
        | dict(num_key_value_heads=1, layer_types=["full_attention", "sliding_attention"] * 2),
    ),
}
