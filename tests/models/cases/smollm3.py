"""SmolLM 3: layers without rope, by interval and by list, and windows."""

from tests.models.case import Case

CASES = {
    "": Case("SmolLM3", dict(tie_word_embeddings=True)),
    "list, biases": Case(
        "SmolLM3", dict(no_rope_layers=[0, 1, 1, 0], attention_bias=True, mlp_bias=True)
    ),
    "interval, window": Case(
        "SmolLM3",
        dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=6),
    ),
}
