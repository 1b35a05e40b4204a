"""`mistralrs tune`: sizes against loaded models, and what is recommended."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mistralrs.api.config_file import read
from mistralrs.cli import tune
from mistralrs.cli.tune import CANDIDATES, PREFERRED, Machine, candidate, recommend
from mistralrs.load.build import build
from mistralrs.load.estimate import Estimate, estimates
from mistralrs.load.explain import explain
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from mistralrs.passes.isq import parse
from tests.models.case import SIZES
from tests.models.media import case, llava, qwen2_vl

GB = 1 << 30
WIDE = SIZES | dict(hidden_size=512, intermediate_size=1024, vocab_size=2048)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "tied": ("Qwen3", dict(tie_word_embeddings=True, head_dim=64)),
    "experts": ("Mixtral", dict(num_local_experts=4)),
    "odd rows": ("Qwen2", dict(intermediate_size=1056)),
}


@pytest.fixture(params=MODELS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A random model, large enough for its norms not to matter."""
    prefix, own = MODELS[request.param]
    config = getattr(transformers, f"{prefix}Config")(**WIDE | own)
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("isq", ["none", "q8_0", "q4k"])
def test_sizes_are_those_of_the_loaded_model(isq: str, checkpoint: Path) -> None:
    """The sum over matrices that were really made. `bench/memory.py` compares with the memory of a process."""
    wish = Wish(device=torch.device("cpu"), sequences=1, isq=None if isq == "none" else parse(isq))
    repo = open_repo(str(checkpoint))
    (said,) = estimates(repo, wish, [wish.isq])
    loaded = explain("", build(repo, wish), None, None)
    assert said.weights == pytest.approx(loaded.bytes, rel=0.02)
    assert said.per_token == loaded.token_bytes


@pytest.mark.parametrize("family", [llava, qwen2_vl])
def test_sizes_of_a_model_that_sees(family: Any, tmp_path: Path) -> None:
    """Exact: every parameter of the text model and of the encoder counts."""
    folder = case.save(family.CASES[""], case.reference(family.CASES[""]), tmp_path / "model")
    wish, repo = Wish(device=torch.device("cpu"), sequences=1), open_repo(str(folder))
    built = build(repo, wish)
    loaded = sum(p.nbytes for p in built.model.parameters())
    loaded += explain("", built, None, None).bytes
    assert estimates(repo, wish, [None])[0].weights == loaded


def room(gigabytes: float) -> Machine:
    return Machine("cpu", 16 * GB, int(gigabytes * GB))


BYTES = dict(zip(CANDIDATES, (16, 8.5, 6.6, 5.6, 4.6, 3.6, 3.1)))
CHOICES = [
    ("balanced", 20, "q6k"),
    ("quality", 20, "q8_0"),
    ("fast", 20, "q4k"),
    ("balanced", 6, "q5k"),
    ("quality", 4, "q3k"),
    ("fast", 3.2, "q2k"),
]


def candidates(free: float) -> list[tune.Candidate]:
    return [
        candidate(name, size, Estimate(int(size * GB), 0, 1 << 14, 8192), room(free))
        for name, size in BYTES.items()
    ]


@pytest.mark.parametrize(("profile", "free", "expected"), CHOICES)
def test_profiles(profile: str, free: float, expected: str) -> None:
    assert recommend(candidates(free), list(PREFERRED[profile])).isq == expected


def test_context_room() -> None:
    fits, tight, none = candidates(8.6)[2], candidates(6.7)[2], candidates(6.6)[2]
    assert (fits.max_context_tokens, fits.context_is_model_max, fits.fit_status) == (
        8192,
        True,
        "fits",
    )
    assert (tight.max_context_tokens, tight.context_is_model_max) == (6553, False)
    assert (none.max_context_tokens, none.fit_status) == (0, "too-large")
    assert [one.quality for one in candidates(20)] == [
        "baseline", "near-lossless", "good", "good", "acceptable", "degraded", "degraded",
    ]  # fmt: skip


def test_nothing_fits(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistralrs.load.plan.memory", lambda device: (GB, 1 << 20))
    code, out, err = call("tune")
    assert (code, out) == (1, "")
    assert "no quantization of this model fits" in err


def test_json_and_file(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "made.toml"
    options = ("--cpu", "--isq-organization", "moqe", "--profile", "fast", "--max-seqs", "4")
    code, out, err = call("tune", *options, "--json", "--emit-config", str(file))
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert [one["isq"] for one in report["candidates"]] == list(CANDIDATES)
    assert [one["isq"] for one in report["candidates"] if one["recommended"]] == ["q4k"]
    command = report["recommended_command"]
    assert command.endswith(" --isq q4k --isq-organization moqe --max-seqs 4 --cpu")
    made = read(file)
    (model,) = made.models
    assert made.cpu
    assert model.which.organization.value == "moqe"
    assert (model.options, model.which.model_id) == (
        {"in_situ_quant": "q4k", "max_seqs": 4},
        report["model_id"],
    )


def test_table(call: Any) -> None:
    code, out, _ = call("tune", "--isq", "hqq8")
    assert code == 0
    assert out.splitlines()[-1].startswith("mistralrs serve -m ")
    assert out.rstrip().endswith("--isq hqq8")
    assert all(name.upper() in out for name in CANDIDATES[1:])


REFUSED = [
    (("-f", "x.gguf"), 2, "quantized already"),
    (("--isq", "q9"), 1, "'q9' is no quantization"),
    (("-m", "/no/such/folder"), 1, "no such directory"),
    (("--topology", "x"), 1, "topology files is not available yet"),
    (("--device-layers", "0:3"), 1, "not available yet"),
    (("--profile", "best"), 2, "'best' is not one of"),
]


@pytest.mark.parametrize(("arguments", "expected", "message"), REFUSED)
def test_refused(arguments: tuple[str, ...], expected: int, message: str, call: Any) -> None:
    code, out, err = call("tune", *arguments)
    assert (code, out) == (expected, "")
    assert message in err
