"""Fused layers against the layers one by one: the same bits, however the tokens are batched."""

import weakref
from dataclasses import replace

import pytest
import torch

from mistralrs import kernels
from mistralrs.engine.scheduler import Turn
from mistralrs.kernels import native
from mistralrs.load.build import build
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from mistralrs.nn.batch import Batch, Joined
from mistralrs.nn.linear import Linear
from mistralrs.passes.fuse import Fused, forget, fuse
from mistralrs.passes.isq import parse
from tests.models import tiny
from tests.models.test_parity import SCHEDULES, A, B, Driver, load

pytestmark = pytest.mark.skipif(native.compiled is None, reason="needs the compiled CPU kernels")

# How many layers are fused, where it is not all of them.
FUSED = {
    "glm4_moe": 1,  # layers with experts stay as they are
    "glm4_moe no norms, groups, tied": 2,
    "mllama_text_model": 2,  # what sees images stays as it is
    "qwen3_moe": 0,
    "qwen3_moe not renormalized": 0,
    "qwen3_moe dense layers between": 2,
    "qwen3_moe dense layers first, biases, yarn": 2,
    "qwen3_moe window, tied": 0,
}
STAGES = {"gemma": 2, "gemma2": 3, "gemma3_text": 3}  # embeddings are scaled, logits are capped
FAMILIES = (
    "gemma", "gemma2", "gemma3_text", "glm4", "glm4_moe", "llama", "mistral", "mllama_text_model", "phi3",
    "qwen2", "qwen3", "qwen3_moe", "smollm3",
)  # fmt: skip
KNOWN = [name for name in tiny.CASES if name.split()[0] in FAMILIES]
OTHERS = {name.split()[0]: name for name in tiny.CASES if name.split()[0] not in FAMILIES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes the checkpoint of a case, once."""
    folders = {}

    def write(case: str):
        if case not in folders:
            folders[case] = tiny.save(tiny.reference(case), tmp_path_factory.mktemp("model"))
        return folders[case]

    return write


def logits(driver: Driver, model: torch.nn.Module, schedule: str) -> list[torch.Tensor]:
    """What a model gives in all steps of a schedule."""
    driver.model = model
    sequences = {"A": driver.start(A), "B": driver.start(B)}
    found = []
    for step in SCHEDULES[schedule]:
        found += driver.step([Turn(sequences[name], count) for name, count in step.items()])
    for sequence in sequences.values():
        driver.scheduler.remove(sequence)
    driver.scheduler.clear()
    return found


def same(driver: Driver, fused: torch.nn.Module, plain: torch.nn.Module, schedule: str) -> bool:
    """Whether both give the same bits."""
    pairs = zip(logits(driver, fused, schedule), logits(driver, plain, schedule), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def alone(fused: Fused) -> int:
    """How many layers run as they did."""
    return sum(isinstance(part, torch.nn.Module) for part in fused.parts)


@pytest.mark.parametrize("case", KNOWN)
def test_known_patterns(case, folder):
    driver = load(folder(case), "bf16")
    plain, fused = driver.model, fuse(driver.model)
    assert all(same(driver, fused, plain, schedule) for schedule in SCHEDULES)
    count = len(plain.model.layers)
    assert count - alone(fused) == FUSED.get(case, count)
    if count == FUSED.get(case, count):  # nothing between the runs, but a stage that differs
        assert len(fused.parts) == STAGES.get(case.split()[0], 1)


@pytest.mark.parametrize("case", OTHERS.values())
def test_other_patterns_stay_as_they_are(case, folder):
    driver = load(folder(case))
    plain, fused = driver.model, fuse(driver.model)
    assert same(driver, fused, plain, "mixed")
    assert [p for p in fused.parts if isinstance(p, torch.nn.Module)] == list(plain.model.layers)


def test_quantized_weights(folder):
    wish = Wish(page_size=16, sequences=8, isq=parse("q8_0"))
    driver = load(folder("qwen3"))
    plain = build(open_repo(str(folder("qwen3"))), wish).model
    fused = fuse(plain)
    assert all(same(driver, fused, plain, schedule) for schedule in SCHEDULES)
    assert alone(fused) == 0


@pytest.mark.parametrize("name", [n for n in native.available() if n != "reference"])
@pytest.mark.parametrize("threads", [1, 3])
def test_instruction_sets_and_threads(name, threads, folder):
    driver = load(folder("gemma2"))
    plain = logits(driver, driver.model, "mixed")
    fused = fuse(driver.model)
    with kernels.use(name, threads):
        assert same(driver, fused, driver.model, "mixed")
        if name == native.describe()["available"][0]:
            found = logits(driver, fused, "mixed")
            assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_reference_kernels_run_the_layers_themselves(folder):
    driver = load(folder("llama"))
    plain, fused = driver.model, fuse(driver.model)
    with kernels.use("reference"):
        assert same(driver, fused, plain, "mixed")
    assert fused.parts == []


def test_rows_that_see_each_other_run_the_layers_themselves(folder):
    driver = load(folder("llama"))
    plain, fused = driver.model, fuse(driver.model)
    joined = (Joined(1, 4, host(0, 3), host(4), host(0)[None]),)
    found = [run(model, blank(4, joined=joined)) for model in (fused, plain)]
    assert torch.equal(*found)
    assert not torch.equal(found[0], run(plain, blank(4)))


def test_media_run_the_layers_themselves(folder):
    driver = load(folder("llama"))
    plain, fused = driver.model, fuse(driver.model)
    media = ((torch.tensor([1, 2]), torch.randn(2, 64)),)
    found = [run(model, blank(4, media=media)) for model in (fused, plain)]
    assert torch.equal(*found)
    assert not torch.equal(found[0], run(plain, blank(4)))


@pytest.mark.parametrize("outputs", [[], [3], [1, 3], [2, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_wanted_rows(outputs, dtype, folder):
    plain = load(folder("qwen3"), dtype).model
    batch = blank(4, outputs=torch.tensor(outputs, dtype=torch.int64))
    found = [run(model, batch) for model in (fuse(plain), plain)]
    assert torch.equal(*found)
    assert len(found[0]) == len(outputs)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(tokens=torch.tensor([5, 6, 10**6, 7])),
        dict(tokens=torch.tensor([5, 6, -1, 7])),
        dict(outputs=torch.tensor([4])),
    ],
)
@pytest.mark.parametrize("isq", [None, "q8_0"])
def test_numbers_out_of_bounds(wrong, isq, folder):
    wish = Wish(page_size=16, sequences=8, isq=isq and parse(isq))
    fused = fuse(build(open_repo(str(folder("qwen3"))), wish).model)
    with pytest.raises(IndexError, match="out of bounds"):
        run(fused, replace(blank(4), **wrong))
    assert run(fused, blank(4)).isfinite().all()


def test_a_packed_embedding(folder):
    plain = load(folder("qwen3")).model
    table = plain.model.embed_tokens
    table.weight = parse("q4_0").quantize(table.weight.tensor)
    fused = fuse(plain)
    assert torch.equal(run(fused, blank(4)), run(plain, blank(4)))
    assert len(fused.parts) == 1


def run(model, batch: Batch) -> torch.Tensor:
    """What a model gives for a batch."""
    with torch.inference_mode():
        return model(batch)


def host(*values: int) -> torch.Tensor:
    """An index tensor."""
    return torch.tensor(values, dtype=torch.int32)


def blank(count: int, **more) -> Batch:
    """A batch of one new sequence."""
    at = torch.arange(count)
    index = dict(starts=host(0, count), lengths=host(count), pages=host(0)[None])
    fresh = torch.tensor([True])
    wanted = dict(outputs=at) | index | more
    return Batch(at + 5, at, prompts=host(count), slots=host(0), fresh=fresh, **wanted)


def test_replaced_weights(folder):
    driver = load(folder("qwen3"))
    plain, fused = driver.model, fuse(driver.model)
    before = logits(driver, fused, "decode")
    for linear in (m for m in plain.model.layers.modules() if isinstance(m, Linear)):
        linear.weight = type(linear.weight)(linear.weight.tensor * 0.5)
    forget(fused)
    assert same(driver, fused, plain, "decode")
    assert not torch.equal(logits(driver, fused, "decode")[0], before[0])


def test_forget_lets_go_of_weights(folder):
    driver = load(folder("llama"))
    plain, fused = driver.model, fuse(driver.model)
    logits(driver, fused, "whole")
    first = next(m for m in plain.modules() if isinstance(m, Linear))
    old = weakref.ref(first.weight.tensor)
    forget(fused)
    first.weight = type(first.weight)(first.weight.tensor.clone())
    assert old() is None


def test_the_model_itself_is_unchanged(folder):
    model = load(folder("llama")).model
    names = [name for name, _ in model.named_modules()]
    fuse(model)
    assert [name for name, _ in model.named_modules()] == names
