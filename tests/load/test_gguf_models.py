"""GGUF files of many architectures give the logits of the checkpoint they were made from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mistralrs import kernels
from mistralrs.api.errors import ConfigError
from mistralrs.load.build import build, construct
from mistralrs.load.gguf import Gguf, read_gguf
from mistralrs.load.gguf_config import config_of
from mistralrs.load.gguf_names import tensors_of
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Budget, Wish
from mistralrs.nn.checkpoint import Lazy
from tests.load import convert
from tests.models import tiny
from tests.models.test_parity import A, Driver, Pages, Scheduler, Turn

WISH = Wish(dtype="f32", page_size=16, budget=Budget(tokens=1024))
# A case of the parity tests, and what a GGUF file cannot say otherwise.
DEFAULT_SCALE = dict(query_pre_attn_scalar=32)
CASES = {
    "deepseek_v2 lite": {},
    "deepseek_v2 lite, yarn": {},
    "deepseek_v3": {},
    "gemma": {},
    "gemma2": DEFAULT_SCALE,
    "gemma2 tight caps, biases": DEFAULT_SCALE | dict(attention_bias=False),
    "gemma3_text": DEFAULT_SCALE,
    "glm4": {},
    "glm4_moe": {},
    "gpt_oss": {},
    "lfm2": {},
    "llama": {},
    "llama linear": {},
    "llama llama3": {},
    "llama tied, one kv head": {},
    "llama yarn": {},
    "mistral": {},
    "mixtral": {},
    "phi": {},
    "phi3": {},
    "phi3 longrope, long": {},
    "phi3 longrope, short": {},
    "phi3 partial, tied": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {},
    "smollm3": {},
    "starcoder2": {},
}


def logits(built) -> torch.Tensor:
    driver = Driver(built.model, Scheduler(Pages(64, 16), 8, 512))
    return driver.step([Turn(driver.start(A), len(A))])[0]


def load(path, wish=WISH):
    file = read_gguf([path])
    return construct(config_of(file), lambda: tensors_of(file), wish)


def reference(case: str, monkeypatch, **more):
    """The transformers model of a case that GGUF can express."""
    one = tiny.CASES[case]
    settings = one.settings | CASES[case] | more
    monkeypatch.setitem(tiny.CASES, "gguf", replace(one, settings=settings))
    return tiny.reference("gguf")


@pytest.mark.parametrize("case", CASES)
def test_float32(tmp_path, monkeypatch, case, caplog):
    folder = tiny.save(reference(case, monkeypatch), tmp_path / "hf")
    expected = logits(build(open_repo(str(folder)), WISH))
    found = logits(load(convert.convert(folder, tmp_path / "m.gguf")))
    assert (found - expected).abs().max() <= 1e-4
    assert not [r for r in caplog.records if r.name.startswith("mistralrs")], "all tensors are used"


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
@pytest.mark.parametrize(
    "case", ["llama", "qwen2", "qwen3_moe", "mixtral", "phi3", "gemma2", "starcoder2"]
)
def test_quantized(tmp_path, monkeypatch, case, kind):
    """The logits of the same weights, decoded and saved as float32."""
    folder = tiny.save(reference(case, monkeypatch), tmp_path / "hf")
    with kernels.use("reference"):  # compiled products round the activations too
        found = logits(load(convert.convert(folder, tmp_path / "m.gguf", kind)))
    rounded = tiny.save(reference(case, monkeypatch), tmp_path / "rounded")
    for file in rounded.glob("*.safetensors"):
        state = {k: convert.rounded(k, t, kind) for k, t in load_file(file).items()}
        save_file(state, file, {"format": "pt"})
    expected = logits(build(open_repo(str(rounded)), WISH))
    assert (found - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("key", "value"),
    [("attention.head_count", 0), ("attention.head_count", "many"), ("embedding_length", [[1]])],
)
def test_metadata_without_sense(key, value):
    found = {
        "general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 64,
        "llama.attention.head_count": 2, "llama.feed_forward_length": 64, "llama.context_length": 64,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, f"llama.{key}": value,
    }  # fmt: skip
    embedding = Lazy.of(torch.zeros(8, 64))
    with pytest.raises(ConfigError, match="makes no sense"):
        config_of(Gguf(Path("odd.gguf"), found, {"token_embd.weight": embedding}))
