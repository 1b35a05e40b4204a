"""Llama with every rope scaling."""

from tests.models.case import LLAMA3, YARN, Case, rope

OWN_YARN = rope("yarn", attention_factor=1.3, beta_fast=16.0, beta_slow=2.0, **YARN)

CASES = {
    "": Case("Llama"),
    "tied, one kv head": Case("Llama", dict(tie_word_embeddings=True, num_key_value_heads=1)),
    "biases, all kv heads": Case(
        "Llama", dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4)
    ),
    "linear": Case("Llama", rope("linear", factor=2.0)),
    "dynamic": Case("Llama", dict(max_position_embeddings=24) | rope("dynamic", factor=4.0)),
    "llama3": Case("Llama", rope("llama3", **LLAMA3)),
    "yarn": Case("Llama", rope("yarn", **YARN)),
    "yarn, own temperature": Case("Llama", OWN_YARN),
}
