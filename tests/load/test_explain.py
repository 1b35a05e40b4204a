"""The report on a loaded model: every byte once, what a token reads, the roof of the memory."""

import pytest

from mistralrs import Explanation, Runner, Which
from mistralrs.api import errors
from mistralrs.demo import model_path
from mistralrs.load.build import Wish, build
from mistralrs.load.explain import explain, weights
from mistralrs.load.hub import open_repo
from tests.models import tiny


def report(**options) -> Explanation:
    given = {n: options.pop(n) for n in ("bandwidth", "speed") if n in options}
    with Runner(which=Which.Plain(str(model_path())), **options) as runner:
        return runner.explain(**given)


def test_formats_and_bytes():
    found = report(in_situ_quant="afq4")
    rows = {m.place: m for m in found.matrices}
    assert rows["lm_head"].format == "AFQ6"
    assert rows["self_attn.q_proj"].format == "AFQ4"
    assert rows["self_attn.q_proj"].kernel == "coded"
    assert rows["embed_tokens"].kernel == "rows"
    assert rows["self_attn.q_proj"].bits == 4.5
    assert found.bytes == sum(m.bytes for m in found.matrices)
    assert rows["mlp.down_proj"].read == rows["mlp.down_proj"].bytes
    assert rows["embed_tokens"].read * 100 < rows["embed_tokens"].bytes
    text = str(found)
    assert all(m.place in text and m.format in text for m in found.matrices)
    assert "cache:" in text
    assert "tokens/s" not in text
    assert found.roof is None
    assert len({line.index("AFQ") for line in text.splitlines() if "AFQ" in line}) == 1


def test_a_tied_head_is_counted_once():
    rows = {m.place: m for m in report().matrices}
    assert rows["lm_head"].bytes == 0  # the table of the embedding
    assert rows["lm_head"].read == rows["embed_tokens"].bytes


def test_roof():
    found = report(bandwidth=20e9, speed=50.0)
    assert found.roof == 20e9 / found.read
    assert found.share == 50 / found.roof
    assert f"{found.share:.0%} reached" in str(found)


def test_experts_are_read_in_part(tmp_path):
    folder = tiny.save(tiny.reference("mixtral"), tmp_path)
    built = build(open_repo(str(folder)), Wish())
    found = {m.place: m for m in explain("x", built, None, None).matrices}
    stacks = [m for m in found.values() if "experts" in m.place]
    assert stacks
    assert all("gather" in m.kernel for m in stacks)
    top, count = built.cfg.num_experts_per_tok, built.cfg.num_local_experts
    assert all(m.read == m.bytes * top // count for m in stacks)
    names = [name for name, _, _ in weights(built.model)]
    assert sum(m.count for m in found.values()) == len(names)


@pytest.mark.parametrize("wrong", [0, -1.0, "fast", float("inf")])
@pytest.mark.parametrize("name", ["bandwidth", "speed"])
def test_numbers_that_cannot_be(name, wrong):
    with pytest.raises(errors.MistralRsError, match=name):
        report(**{name: wrong})
