"""Gemma 3 text: local and global ropes."""

from tests.models.case import Case

SETTINGS = dict(tie_word_embeddings=True, head_dim=32, sliding_window=6, query_pre_attn_scalar=24)
ROPES = dict(
    sliding_attention=dict(rope_type="default", rope_theta=1e4),
    full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
)


def case(**settings) -> Case:
    """Gemma 3, whose text model has its own Config class."""
    return Case("Gemma3", SETTINGS | settings, config="Gemma3Text", norm=0.0)


CASES = {
    "": case(num_hidden_layers=6),
    "linear, every other layer": case(
        layer_types=["sliding_attention", "full_attention"] * 2, rope_parameters=ROPES
    ),
    "one kv head, caps": case(
        num_key_value_heads=1,
        layer_types=["full_attention"] + ["sliding_attention"] * 3,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
}
