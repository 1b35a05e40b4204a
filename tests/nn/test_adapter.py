"""Which rows of a step an adapter changes, and by what."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mistralrs.nn.adapter import Adapted, Adapter, spans
from mistralrs.nn.linear import Linear, place
from mistralrs.passes.adapt import adapt
from mistralrs.quant.plain import Plain

SPANS = {  # adapters of sequences with 3, 2, 4 and 1 tokens: names and rows
    "none": ((), []),
    "some": ((None, "a", None, None), [("a", slice(3, 5))]),
    "neighbours": (("a", "a", "b", None), [("a", slice(0, 5)), ("b", slice(5, 9))]),
    "all": (("a", "b", "a", "b"), [("a", slice(0, 3)), ("b", slice(3, 5)), ("a", slice(5, 9)), ("b", slice(9, 10))]),
}  # fmt: skip


def step(*adapters):
    starts = [0, 3, 5, 9, 10]
    rows = [(i, *pair) for i, pair in enumerate(zip(starts, starts[1:]))]
    return SimpleNamespace(adapters=adapters, spans=lambda: rows)


@pytest.mark.parametrize(("adapters", "wanted"), SPANS.values(), ids=SPANS)
def test_spans(adapters, wanted):
    assert list(spans(step(*adapters))) == wanted


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Linear(8, 6, bias=True), Linear(8, 6)

    def forward(self, batch, x):
        return self.first(x), self.second(x)


def filled():
    model = Model()
    adapt(model, {"a": Adapter(2, 0.5, "first"), "b": Adapter(3, 2.0, "first|second")})
    torch.manual_seed(0)
    for module in list(model.modules()):
        for leaf in getattr(module, "matrices", ()):
            place(module, leaf, Plain(torch.randn(module._parameters[leaf].shape)))
    model.first.bias = nn.Parameter(torch.randn(6))
    return model


def test_adapted_layers():
    model, x = filled(), torch.randn(10, 8)
    assert list(model.first.adapters) == ["a", "b"]
    assert list(model.second.adapters) == ["b"]
    found = model(step(None, "a", "b", None), x)
    for layer, y in zip((model.first, model.second), found):
        plain = x @ layer.weight.tensor.T + (0 if layer.bias is None else layer.bias)
        for name, rows, scale in (("a", slice(3, 5), 0.5), ("b", slice(5, 9), 2.0)):
            if name in layer.adapters:
                one = layer.adapters[name]
                plain[rows] += x[rows] @ (one.lora_B.tensor @ one.lora_A.tensor).T * scale
        assert (y - plain).abs().max() < 1e-5


def test_nothing_stays_active():
    model, x = filled(), torch.randn(10, 8)
    wanted = model(step(), x)
    model(step("a", "a", "b", "b"), x)
    assert torch.equal(model.first(x), wanted[0])
    with pytest.raises(AttributeError):
        model(step("a", "a", "b", "b"), None)
    assert torch.equal(model.first(x), wanted[0])


def test_models_without_adapters_stay_as_they_are():
    model = Model()
    adapt(model, {})
    assert type(model.first) is Linear
    assert not model._forward_pre_hooks
    adapt(model, {"a": Adapter(2, 1.0, "first")})
    assert type(model.first) is Adapted
    assert type(model.second) is Linear
