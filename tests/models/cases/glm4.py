"""GLM 4: partial rope on pairs, with and without biases."""

from tests.models.case import Case

CASES = {
    "": Case("Glm4", dict(head_dim=32, attention_bias=True)),
    "no biases, one kv head, whole heads turn": Case(
        "Glm4",
        dict(
            head_dim=16,
            attention_bias=False,
            num_key_value_heads=1,
            rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=1.0),
        ),
    ),
}
