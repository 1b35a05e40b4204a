"""The example of docs/adding.md: an architecture that a user registers loads, and writes what plain torch writes."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from mistralrs import CompletionRequest, Runner, Which, models
from tests.sentence import write_tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "adding.md"
HEADS, GROUPS, DIM, HIDDEN, WIDTH, VOCABULARY, LAYERS = 4, 2, 16, 64, 96, 300, 3
CONFIG = dict(
    architectures=["ParallelForCausalLM"],
    vocab_size=VOCABULARY,
    hidden_size=HIDDEN,
    intermediate_size=WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=GROUPS,
    max_position_embeddings=256,
)
SHAPES = {
    "norm": (HIDDEN,),
    "self_attn.q_proj": (HEADS * DIM, HIDDEN),
    "self_attn.k_proj": (GROUPS * DIM, HIDDEN),
    "self_attn.v_proj": (GROUPS * DIM, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * DIM),
    "mlp.gate_proj": (WIDTH, HIDDEN),
    "mlp.up_proj": (WIDTH, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDTH),
}


@pytest.fixture(scope="module")
def program() -> str:
    """The program of the section."""
    section = PAGE.read_text(encoding="utf-8").split("## An architecture of your own")[1]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture
def registered(program, monkeypatch):
    """Run it, and forget the architecture afterwards."""
    monkeypatch.setattr(models, "SOURCES", dict(models.SOURCES))
    monkeypatch.setattr(models, "REGISTERED", {})
    exec(compile(program, str(PAGE), "exec"), {})


def checkpoint(folder: Path) -> dict[str, Tensor]:
    """Write a random model and return its tensors."""
    generator = torch.Generator().manual_seed(3)
    names = {f"model.layers.{i}.{k}": shape for i in range(LAYERS) for k, shape in SHAPES.items()}
    ends = {"model.embed_tokens": (VOCABULARY, HIDDEN), "lm_head": (VOCABULARY, HIDDEN)}
    shapes = names | ends | {"model.norm": (HIDDEN,)}
    tensors = {
        f"{k}.weight": torch.randn(s, generator=generator) * 0.2 + (len(s) == 1)
        for k, s in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_tokenizer(folder, "<bos> $A")
    return tensors


def rotate(x: Tensor) -> Tensor:
    """Rope of x [T, H, D]."""
    a, b = x.chunk(2, -1)
    angle = torch.arange(len(x))[:, None] * 10000.0 ** (-torch.arange(0, DIM, 2) / DIM)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def logits(tensors: dict[str, Tensor], tokens: list[int]) -> Tensor:
    """The last token's logits [V], computed without a cache."""
    x = tensors["model.embed_tokens.weight"][tokens]
    for i in range(LAYERS):
        w = {k: tensors[f"model.layers.{i}.{k}.weight"] for k in SHAPES}
        y = F.rms_norm(x, (HIDDEN,), w["norm"], 1e-6)
        q, k, v = (
            (y @ w[f"self_attn.{n}_proj"].T).unflatten(-1, (-1, DIM)).movedim(1, 0) for n in "qkv"
        )
        q, k = (rotate(one.movedim(0, 1)).movedim(1, 0) for one in (q, k))
        k, v = (one.repeat_interleave(HEADS // GROUPS, 0) for one in (k, v))
        scores = q @ k.mT / math.sqrt(DIM)
        scores += torch.full_like(scores, -torch.inf).triu(1)
        mixed = (scores.softmax(-1) @ v).movedim(0, 1).flatten(1) @ w["self_attn.o_proj"].T
        gated = F.silu(y @ w["mlp.gate_proj"].T) * (y @ w["mlp.up_proj"].T)
        x = x + mixed + gated @ w["mlp.down_proj"].T
    return (
        F.rms_norm(x[-1], (HIDDEN,), tensors["model.norm.weight"], 1e-6)
        @ tensors["lm_head.weight"].T
    )


def test_example_is_short(program):
    assert len(program.splitlines()) <= 30


@pytest.mark.usefixtures("registered")
def test_example_runs(tmp_path):
    tensors = checkpoint(tmp_path)
    with Runner(Which.Plain(str(tmp_path))) as runner:
        tokens = runner.tokenize_text("a fox", True)
        request = CompletionRequest("a fox", max_tokens=20, temperature=0.0)
        found = runner.send_completion_request(request)
        for _ in range(20):
            tokens.append(int(logits(tensors, tokens).argmax()))
        expected = runner.detokenize_text(tokens[6:], True)
    assert found.usage.completion_tokens == 20
    assert found.choices[0].text == expected
