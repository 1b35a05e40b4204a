"""Phi 3.5 MoE: one expert after the other, LongRoPE with magnitudes of its own."""

from typing import Any

from tests.models.case import Case, rope

FEW = dict(  # and no threshold: what a bf16 cache could upset
    attention_bias=True, num_local_experts=4, router_jitter_noise=1.0
)
FACTORS = [1.0 + 0.1 * i for i in range(8)]


def longrope(trained: int) -> dict[str, Any]:
    """Rope settings; transformers 5.23 takes the short factors whatever the length, so long ones are equal here."""
    return rope(
        "longrope",
        short_factor=FACTORS,
        long_factor=FACTORS,
        short_mscale=1.1,
        long_mscale=1.2,
        original_max_position_embeddings=trained,
    )


CASES = {
    "": Case("Phimoe", dict(attention_bias=True, lm_head_bias=True, num_local_experts=8)),
    "no biases, much jitter, window": Case(
        "Phimoe",
        dict(num_local_experts=6, router_jitter_noise=0.3, sliding_window=6, num_key_value_heads=1),
    ),
    "longrope, short": Case("Phimoe", FEW | longrope(64)),
    "longrope, long": Case("Phimoe", FEW | longrope(24)),
}
