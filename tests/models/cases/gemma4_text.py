"""Gemma 4, text only."""

from tests.models.case import Case

TYPES = dict(layer_types=["sliding_attention", "full_attention"] * 2, sliding_window=24)
WIDE = dict(head_dim=16, global_head_dim=32, hidden_size_per_layer_input=0)
EXPERTS = dict(enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=40)

CASES = {
    "": Case("Gemma4", TYPES | WIDE, config="Gemma4Text", norm=0.5),
    "keys as values, one kv head, cap": Case(
        "Gemma4",
        TYPES
        | WIDE
        | dict(attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=5.0),
        config="Gemma4Text",
        norm=0.5,
    ),
    "words for each layer, shared keys": Case(
        "Gemma4",
        dict(
            TYPES,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
            num_hidden_layers=6,
            head_dim=16,
            global_head_dim=32,
            hidden_size_per_layer_input=16,
            vocab_size_per_layer_input=99,
            num_kv_shared_layers=3,
            use_double_wide_mlp=True,
            tie_word_embeddings=True,
        ),
        config="Gemma4Text",
        norm=0.5,
    ),
    "experts, tied": Case(
        "Gemma4",
        TYPES | WIDE | EXPERTS | dict(tie_word_embeddings=True),
        config="Gemma4Text",
        norm=0.5,
    ),
}
