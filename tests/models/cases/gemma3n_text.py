"""Gemma 3n, text only: streams, shared keys, words for each layer, closed gates; ids that the second table lacks."""

from tests.models.case import Case

SETTINGS = dict(
    num_hidden_layers=6, intermediate_size=[96, 64, 80, 96, 112, 64], head_dim=16, sliding_window=6,
    layer_types=["sliding_attention", "full_attention"] * 3, num_kv_shared_layers=3, laurel_rank=8,
    hidden_size_per_layer_input=16, vocab_size_per_layer_input=90, tie_word_embeddings=True,
    activation_sparsity_pattern=[0.95, 0.6, 0.0, 0.0, 0.3, 0.0],
)  # fmt: skip


def case(**settings) -> Case:
    return Case("Gemma3n", SETTINGS | settings, config="Gemma3nText", norm=0.5)


CASES = {
    "": case(),
    "three streams, none shared": case(
        altup_num_inputs=3, altup_active_idx=1, altup_correct_scale=False, num_kv_shared_layers=0,
        final_logit_softcapping=3.0, intermediate_size=96,
    ),
}  # fmt: skip
