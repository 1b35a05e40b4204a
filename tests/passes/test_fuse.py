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
from mistralrs.passes.fuse import Layers, Run, forget, fuse
from mistralrs.passes.isq import parse
from tests.models import tiny
from tests.models.test_parity import SCHEDULES, A, B, Driver, load

pytestmark = pytest.mark.skipif(native.compiled is None, reason="needs the compiled CPU kernels")

# How many layers are fused, where it is not all of them.
FUSED = {
    "glm4_moe": 1,  # layers with experts stay as they are
    "glm4_moe no norms, groups, tied": 2,
    "qwen3_moe": 0,
    "qwen3_moe not renormalized": 0,
    "qwen3_moe dense layers between": 2,
    "qwen3_moe dense layers first, biases, yarn": 2,
    "qwen3_moe window, tied": 0,
}
FAMILIES = (
    "gemma", "gemma2", "gemma3_text", "glm4", "glm4_moe", "llama", "mistral", "phi3", "qwen2",
    "qwen3", "qwen3_moe", "smollm3",
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


def layers(model: torch.nn.Module) -> Layers:
    """The layers of a fused model."""
    return next(m for m in model.modules() if isinstance(m, Layers))


def alone(model: torch.nn.Module) -> int:
    """How many layers run as they did."""
    return sum(not isinstance(part, Run) for part in layers(model).parts)


@pytest.mark.parametrize("case", KNOWN)
def test_known_patterns(case, folder):
    driver = load(folder(case), "bf16")
    plain, fused = driver.model, fuse(driver.model)
    assert all(same(driver, fused, plain, schedule) for schedule in SCHEDULES)
    count = len(layers(fused).layers)
    assert count - alone(fused) == FUSED.get(case, count)


@pytest.mark.parametrize("case", OTHERS.values())
def test_other_patterns_stay_as_they_are(case, folder):
    driver = load(folder(case))
    plain, fused = driver.model, fuse(driver.model)
    assert same(driver, fused, plain, "mixed")
    assert list(layers(fused).parts) == list(plain.model.layers)


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
    assert layers(fused).parts == []


def test_rows_that_see_each_other_run_the_layers_themselves(folder):
    driver = load(folder("llama"))
    plain, fused = driver.model, fuse(driver.model)
    found = []
    for model in (fused, plain):
        index = dict(starts=host(0, 4), lengths=host(4), pages=host(0)[None])
        joined = (Joined(1, 4, host(0, 3), host(4), host(0)[None]),)
        batch = blank(4, **index, joined=joined)
        with torch.inference_mode():
            found.append(model(batch))
            causal = model(replace(batch, joined=()))
    assert torch.equal(*found)
    assert not torch.equal(found[0], causal)


def host(*values: int) -> torch.Tensor:
    """An index tensor."""
    return torch.tensor(values, dtype=torch.int32)


def blank(count: int, **index) -> Batch:
    """A batch of one new sequence."""
    at = torch.arange(count)
    fresh = torch.tensor([True])
    return Batch(at + 5, at, prompts=host(count), slots=host(0), fresh=fresh, outputs=at, **index)


def test_replaced_weights(folder):
    driver = load(folder("qwen3"))
    plain, fused = driver.model, fuse(driver.model)
    before = logits(driver, fused, "decode")
    for linear in (m for m in plain.model.layers.modules() if isinstance(m, Linear)):
        linear.weight = type(linear.weight)(linear.weight.tensor * 0.5)
    assert same(driver, fused, plain, "decode")
    assert not torch.equal(logits(driver, fused, "decode")[0], before[0])


def test_forget_lets_go_of_weights(folder):
    driver = load(folder("llama"))
    fused = fuse(driver.model)
    logits(driver, fused, "whole")
    first = next(m for m in driver.model.modules() if isinstance(m, Linear))
    old = weakref.ref(first.weight.tensor)
    forget(fused)
    first.weight = type(first.weight)(first.weight.tensor.clone())
    assert old() is None


def test_the_model_itself_is_unchanged(folder):
    model = load(folder("llama")).model
    names = [name for name, _ in model.named_modules()]
    fuse(model)
    assert [name for name, _ in model.named_modules()] == names
