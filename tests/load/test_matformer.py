"""MatFormer slices against transformers, whose model is made of the slice's size and filled by hand."""

import pytest
import torch
import transformers

from mistralrs.api.errors import ConfigError, MistralRsError
from mistralrs.load.build import build
from mistralrs.load.hub import open_repo
from mistralrs.load.matformer import Slice, sliced
from mistralrs.load.plan import Wish
from tests.models import tiny
from tests.models.test_parity import A, Driver, Pages, Scheduler, Turn

TABLE = '''name,# Layers,# Effective Params (B),MMLU PT accuracy,FFN Hidden Dims,Layers Skipped
Whole,6,4,0.6,"[96, 64, 80, 96, 112, 64]",
Narrow,6,3,0.5,"[1_6 * 3, 64, 8 * 8, 24, 2 * 2 * 8, 64]",
Small,4,2,0.5,"[48, 80, 32, 40]","[0, 4]"
Reserved,5,2,0.5,"[96, 64, 96, 112, 64]",[2]
Wide,6,2,0.5,"[96, 64, 80, 96, 112, 65]",
Few,6,2,0.5,"[96, 64]",
Words,6,2,0.5,"[a, b]",
'''  # fmt: skip


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "slices.csv"
    path.write_text(TABLE)
    return str(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    model = tiny.reference("gemma3n_text")
    return model, tiny.save(model, tmp_path_factory.mktemp("model"))


def load(folder, part):
    wish = Wish(dtype="f32", page_size=16, sequences=8, slice=part)
    return build(open_repo(str(folder)), wish)


def smaller(model, kept, widths):
    """Their model of the slice."""
    old = model.config
    config = transformers.Gemma3nTextConfig(
        **{
            **old.to_dict(),
            "num_hidden_layers": len(kept),
            "intermediate_size": list(widths),
            "layer_types": [old.layer_types[i] for i in kept],
            "activation_sparsity_pattern": [old.activation_sparsity_pattern[i] for i in kept],
            "num_kv_shared_layers": sum(i >= 3 for i in kept),
        }
    )
    config._attn_implementation = "eager"
    new, tensors = transformers.Gemma3nForCausalLM(config).eval(), model.state_dict()
    table = tensors["model.embed_tokens_per_layer.weight"].unflatten(1, (6, -1))
    tensors["model.embed_tokens_per_layer.weight"] = table[:, kept].flatten(1)
    project = tensors["model.per_layer_model_projection.weight"].unflatten(0, (6, -1))
    tensors["model.per_layer_model_projection.weight"] = project[kept].flatten(0, 1)
    found = {}
    for name, target in new.state_dict().items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(kept[int(parts[2])])
        source = tensors[".".join(parts)]
        found[name] = source[tuple(slice(n) for n in target.shape)]
    new.load_state_dict(found)
    return new


@pytest.mark.parametrize(
    ("name", "kept"),
    [("Whole", range(6)), ("Narrow", range(6)), ("Small", (1, 2, 3, 5))],
)
def test_logits(whole, table, name, kept):
    model, folder = whole
    part = sliced(table, name)
    built = load(folder, part)
    driver = Driver(built.model, Scheduler(Pages(64, 16), 8, 512, None))
    found = driver.step([Turn(driver.start(A), len(A))])[0]
    with torch.inference_mode():
        expected = smaller(model, list(kept), part.widths)(torch.tensor([A])).logits[0]
    assert (found - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "words"),
    [("Reserved", "reserved"), ("Wide", "65"), ("Few", "does not fit")],
)
def test_slices_that_do_not_fit(whole, table, name, words):
    with pytest.raises(ConfigError, match=words):
        load(whole[1], sliced(table, name))


@pytest.mark.parametrize(
    ("name", "words"), [("None such", "no MatFormer slice 'None such'"), ("Words", "no list")]
)
def test_lines(table, name, words):
    with pytest.raises(ConfigError, match=words):
        sliced(table, name)


def test_name_without_table():
    with pytest.raises(ConfigError, match="needs matformer_config_path"):
        sliced(None, "Small")


def test_table_without_name(table, caplog):
    assert sliced(table, None) is None
    assert "full model" in caplog.text


def test_table_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        sliced(str(tmp_path / "none.csv"), "Small")


def test_other_models(tmp_path):
    folder = tiny.save(tiny.reference("llama"), tmp_path)
    with pytest.raises(MistralRsError, match="Gemma 3n"):
        load(folder, Slice("Small", (1,)))


def test_shared_caches_take_no_memory(whole):
    built = load(whole[1], None)
    writing = 3  # of six layers
    assert built.plan.per_token == writing * 2 * 2 * 16 * 4
