"""Phi 2: partial rope, q and k norms."""

from tests.models.case import Case, rope

CASES = {
    "": Case("Phi", dict(num_key_value_heads=4)),
    "q and k norms, shared kv heads": Case(
        "Phi", dict(qk_layernorm=True) | rope("default", partial_rotary_factor=0.25)
    ),
}
