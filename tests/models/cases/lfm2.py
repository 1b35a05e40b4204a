"""LFM 2: convolutions and attention in turn."""

from tests.models.case import Case

TYPES = dict(layer_types=["conv", "full_attention", "conv", "conv"])

CASES = {
    "": Case("Lfm2", TYPES | dict(block_auto_adjust_ff_dim=False)),
    "tied, biases, adjusted width, 4 taps": Case(
        "Lfm2",
        TYPES
        | dict(tie_word_embeddings=True, conv_bias=True, block_multiple_of=20, conv_L_cache=4),
    ),
    "one kv head, two thirds": Case(
        "Lfm2", TYPES | dict(num_key_value_heads=1, block_ffn_dim_multiplier=1.3, block_multiple_of=8)
    ),
}
