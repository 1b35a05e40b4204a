"""Which quantization fits: sizes against loaded models, and what is recommended."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mistralrs import Which
from mistralrs.api.errors import ConfigError, NotSupportedError
from mistralrs.api.options import TextAutoMapParams
from mistralrs.load.advise import (
    CANDIDATES,
    PREFERRED,
    Candidate,
    Machine,
    Question,
    candidate,
    recommend,
    tunable,
)
from mistralrs.load.bounds import check_bounds
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


def candidates(free: float) -> list[Candidate]:
    return [
        candidate(
            name,
            None if name == "none" else parse(name),
            Estimate(int(size * GB), 0, 1 << 14, 8192),
            room(free),
        )
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


@pytest.mark.parametrize(("least", "status"), [(4096, "fits"), (6553, "fits"), (6554, "too-large")])
def test_the_context_that_must_fit(least: int, status: str) -> None:
    """6.7 GB hold 6.6 GB of weights and 6553 tokens."""
    size = Estimate(int(6.6 * GB), 0, 1 << 14, 8192)
    assert candidate("q6k", parse("q6k"), size, room(6.7), least).fit_status == status


def test_the_context_that_is_asked_for() -> None:
    limits = TextAutoMapParams(max_seq_len=1000, max_batch_size=3)
    assert Question(Which.Plain("x", auto_map_params=limits)).least == 3000
    assert Question(Which.Plain("x")).least == 4096


@pytest.mark.parametrize("which", [Which.GGUF("x", "y.gguf"), Which.Embedding("x")])
def test_nothing_to_choose(which: Which) -> None:
    with pytest.raises(NotSupportedError, match="nothing to choose"):
        tunable(which)


STRANGE = [
    ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1,000,000"),
    ({"vision_config": {"depth": 513}}, "depth is 513"),
    ({"head_dim": 1 << 20}, "head_dim"),
    ({"vocab_size": 1 << 30}, "vocab_size"),
    ({"whatever": 10**30}, "whatever"),
    ({"layer_types": ["a"] * 5000}, "layer_types has 5,000 items"),
]


@pytest.mark.parametrize(("raw", "message"), STRANGE)
def test_a_strange_config(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_bounds(raw)


@pytest.mark.parametrize("config", [transformers.Llama4Config(), transformers.DeepseekV3Config()])
def test_real_configs_are_within_bounds(config: Any) -> None:
    check_bounds(config.to_dict())
