"""config.json as the hub's older files spell it: the same logits, bit for bit, as from what transformers 5 writes."""

import json

import pytest
import torch

from tests.models import tiny
from tests.models.case import YARN
from tests.models.cases import phimoe
from tests.models.cases.phi3 import longrope
from tests.models.test_parity import A, Turn, load

LONG = {
    key: value
    for key, value in longrope(40)["rope_parameters"].items()
    if key in ("short_factor", "long_factor")
}
MSCALE = dict(mscale=0.707, mscale_all_dim=0.707)
# case: keys that old files leave out, keys that they have instead
OLD = {
    "deepseek_v2 lite, yarn": (
        "rope_parameters head_dim qk_head_dim mlp_bias",
        dict(rope_theta=1e4, rope_scaling=dict(type="yarn", **MSCALE, **YARN)),
    ),
    "deepseek_v3": (
        "rope_parameters head_dim qk_head_dim rope_interleave",
        dict(rope_theta=1e4, rope_scaling=None),
    ),
    "gemma": ("rope_parameters tie_word_embeddings", dict(hidden_act="gelu", rope_theta=1e4)),
    "gemma2": ("rope_parameters tie_word_embeddings layer_types", dict(rope_theta=1e4)),
    "gemma3_text": (
        "rope_parameters tie_word_embeddings layer_types attn_logit_softcapping",
        dict(rope_theta=1e6, rope_local_base_freq=1e4, rope_scaling=None, sliding_window_pattern=6),
    ),
    "glm4": ("rope_parameters attention_bias", dict(partial_rotary_factor=0.5)),
    "glm4_moe": ("rope_parameters", dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "glm4_moe_lite": (
        "rope_parameters head_dim mlp_layer_types rope_interleave",
        dict(rope_theta=1e4, first_k_dense_replace=1),
    ),
    "gpt_oss": (
        "rope_parameters swiglu_alpha",
        dict(rope_theta=1e4, rope_scaling=dict(rope_type="yarn", truncate=False, **YARN)),
    ),
    "granitemoehybrid dense, nope": (
        "rope_parameters time_step_limit",
        dict(layer_types=["mamba", "attention", "mamba", "mamba"], position_embedding_type="nope"),
    ),
    "lfm2 tied, biases, adjusted width, 4 taps": (
        "rope_parameters layer_types intermediate_size tie_word_embeddings",
        dict(rope_theta=1e6, full_attn_idxs=[1], block_ff_dim=96, tie_embedding=True),
    ),
    "lfm2_moe": ("rope_parameters", dict(rope_theta=1e6)),
    "mixtral": ("rope_parameters head_dim", dict(rope_theta=1e6)),
    "phi": ("rope_parameters qk_layernorm", dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "phi3": ("rope_parameters", dict(rope_scaling=None)),
    "phi3 partial, tied": ("rope_parameters", dict(partial_rotary_factor=0.75)),
    "phi3 longrope, one of each": (
        "rope_parameters",
        dict(rope_theta=1e4, rope_scaling=dict(type="su", **LONG)),
    ),
    "phimoe longrope, long": (
        "rope_parameters",
        dict(
            architectures=["PhiMoEForCausalLM"],
            rope_theta=1e4,
            rope_scaling=phimoe.longrope(24)["rope_parameters"] | dict(type="longrope"),
        ),
    ),
    "qwen3_moe": (
        "rope_parameters num_local_experts use_sliding_window",
        dict(num_experts=8, rope_theta=1e4, mlp_only_layers=None, max_window_layers=4),
    ),
    "qwen3_next": (
        "rope_parameters layer_types mlp_only_layers",
        dict(full_attention_interval=4, use_sliding_window=False, partial_rotary_factor=0.25),
    ),
    "smollm3": ("rope_parameters no_rope_layers layer_types tie_word_embeddings", {}),
    "starcoder2": ("rope_parameters tie_word_embeddings use_bias", dict(rope_theta=1e4)),
}


@pytest.mark.parametrize("case", OLD)
def test_old_spelling(case, tmp_path):
    folder = tiny.save(tiny.reference(case), tmp_path)
    new = logits(folder)
    file, (dropped, instead) = folder / "config.json", OLD[case]
    config = json.loads(file.read_text())
    kept = {key: value for key, value in config.items() if key not in dropped.split()}
    file.write_text(json.dumps(kept | instead))
    assert torch.equal(logits(folder), new)


def logits(folder) -> torch.Tensor:
    """Logits of a prompt of 43 tokens."""
    driver = load(folder)
    return driver.step([Turn(driver.start(A), len(A))])[0]
