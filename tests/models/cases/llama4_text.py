"""Llama 4 text: chunks, layers without positions, a temperature, experts in some layers."""

from tests.models.case import LLAMA3, Case, rope

SETTINGS = dict(
    head_dim=16,
    intermediate_size=48,
    intermediate_size_mlp=96,
    num_local_experts=4,
    attention_chunk_size=16,
    floor_scale=4,
    no_rope_layers=[1, 0, 1, 1],
)


def case(**settings) -> Case:
    """Llama 4, whose text model has its own Config class."""
    return Case("Llama4", SETTINGS | settings, config="Llama4Text")


CASES = {
    "": case(),
    "llama3 rope, two experts, every other layer": case(
        **rope("llama3", **LLAMA3), num_experts_per_tok=2, interleave_moe_layer_step=2
    ),
    "no norm, no temperature, biases": case(
        use_qk_norm=False, attn_temperature_tuning=False, attention_bias=True
    ),
}
