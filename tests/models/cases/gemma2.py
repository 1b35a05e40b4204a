"""Gemma 2: caps, windows, and a scale that is not the head's."""

from tests.models.case import Case

SETTINGS = dict(tie_word_embeddings=True, head_dim=32, sliding_window=6, query_pre_attn_scalar=24)

CASES = {
    "": Case("Gemma2", SETTINGS, norm=0.0),
    "tight caps, biases": Case(
        "Gemma2",
        SETTINGS
        | dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0, attention_bias=True),
        norm=0.0,
    ),
    "no caps": Case(
        "Gemma2",
        SETTINGS | dict(attn_logit_softcapping=None, final_logit_softcapping=None),
        norm=0.0,
    ),
}
