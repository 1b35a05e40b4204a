"""config.json as the hub's older files spell it: the same logits, bit for bit, as from what transformers 5 writes."""

import json

import pytest
import torch

from tests.models import tiny
from tests.models.cases.phi3 import longrope
from tests.models.test_parity import A, Turn, load

LONG = {
    key: value
    for key, value in longrope(40)["rope_parameters"].items()
    if key in ("short_factor", "long_factor")
}
# case: keys that old files leave out, keys that they have instead
OLD = {
    "gemma": ("rope_parameters tie_word_embeddings", dict(hidden_act="gelu", rope_theta=1e4)),
    "gemma2": ("rope_parameters tie_word_embeddings layer_types", dict(rope_theta=1e4)),
    "gemma3_text": (
        "rope_parameters tie_word_embeddings layer_types attn_logit_softcapping",
        dict(rope_theta=1e6, rope_local_base_freq=1e4, rope_scaling=None, sliding_window_pattern=6),
    ),
    "glm4": ("rope_parameters attention_bias", dict(partial_rotary_factor=0.5)),
    "phi": ("rope_parameters qk_layernorm", dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "phi3": ("rope_parameters", dict(rope_scaling=None)),
    "phi3 partial, tied": ("rope_parameters", dict(partial_rotary_factor=0.75)),
    "phi3 longrope, one of each": (
        "rope_parameters",
        dict(rope_theta=1e4, rope_scaling=dict(type="su", **LONG)),
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
