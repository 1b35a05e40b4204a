"""Which layers have experts; transformers knows neither `moe_layer_freq` nor null in `mlp_only_layers`."""

import pytest

from mistralrs.load.config import Config
from mistralrs.models import find
from tests.models.case import SIZES
from tests.models.cases.deepseek_v2 import LITE
from tests.models.cases.qwen3_moe import EXPERTS

ROWS = [
    ("deepseek_v2", dict(first_k_dense_replace=1, moe_layer_freq=1), "dsss"),
    ("deepseek_v2", dict(first_k_dense_replace=1, moe_layer_freq=2), "ddsd"),
    ("deepseek_v2", dict(first_k_dense_replace=0, moe_layer_freq=3), "sdds"),
    ("qwen3_moe", dict(mlp_only_layers=None), "ssss"),
    ("qwen3_moe", dict(mlp_only_layers=[3], decoder_sparse_step=2), "dsdd"),
]


@pytest.mark.parametrize(("key", "settings", "layers"), ROWS)
def test_layers(key, settings, layers):
    sizes = SIZES | (LITE if key == "deepseek_v2" else EXPERTS) | settings
    architecture = find(key)
    model = architecture(Config(sizes, architecture.defaults))
    found = ["s" if hasattr(layer.mlp, "experts") else "d" for layer in model.model.layers]
    assert "".join(found) == layers
