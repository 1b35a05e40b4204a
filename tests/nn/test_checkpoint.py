"""Lazy tensors and the renaming rules against the same operations on real tensors."""

import pytest
import torch

from mistralrs.api.errors import CheckpointError
from mistralrs.nn.checkpoint import Lazy, drop, rename, split, stack

X = torch.arange(24.0).view(4, 6)
Y = X + 100

OPERATIONS = {
    "rows": (lambda t: t[1:3], X[1:3]),
    "last rows": (lambda t: t[-2:], X[-2:]),
    "no rows": (lambda t: t[3:1], X[3:1]),
    "split": (lambda t: t.split([1, 3])[1], X[1:]),
    "split columns": (lambda t: t.split([2, 4], 1)[0], X[:, :2]),
    "split last dimension": (lambda t: t.split([2, 4], -1)[1], X[:, 2:]),
    "narrow": (lambda t: t.narrow(1, 2, 3), X[:, 2:5]),
    "transpose": (lambda t: t.transpose(), X.T),
    "reshape": (lambda t: t.reshape(2, 2, 6), X.view(2, 2, 6)),
    "map": (lambda t: t.map(lambda x: x + 1), X + 1),
    "map to a shape": (lambda t: t.map(lambda x: x.sum(1), [4]), X.sum(1)),
    "map to a dtype": (lambda t: t.map(torch.Tensor.half, dtype=torch.float16), X.half()),
    "stack": (lambda t: Lazy.stack([t, Lazy.of(Y)]), torch.stack([X, Y])),
    "cat": (lambda t: Lazy.cat([t, Lazy.of(Y)]), torch.cat([X, Y])),
    "cat columns": (lambda t: Lazy.cat([t, Lazy.of(Y)], -1), torch.cat([X, Y], 1)),
    "chain": (lambda t: Lazy.stack([t, t.map(lambda x: -x)]).transpose(1, 2)[1:], -X.T[None]),
}


@pytest.mark.parametrize("case", OPERATIONS)
def test_operations(case):
    operation, expected = OPERATIONS[case]
    lazy = operation(Lazy.of(X))
    assert (lazy.shape, lazy.dtype) == (tuple(expected.shape), expected.dtype)
    assert lazy.nbytes == expected.numel() * expected.element_size()
    assert torch.equal(lazy.load(), expected)


def test_nothing_is_read_before_load():
    reads = []
    lazy = Lazy((4, 6), torch.float32, lambda: reads.append(1) or X)
    out = Lazy.cat([*lazy.split([2, 2]), lazy[1:2].map(lambda x: -x)])
    assert not reads
    assert out.load().shape == (5, 6)
    assert len(reads) == 3


def test_views_share_memory():
    lazy = Lazy.of(X)
    views = [lazy[1:], lazy.transpose(), lazy.split([1, 3])[1]]
    assert {v.load().untyped_storage().data_ptr() for v in views} == {
        X.untyped_storage().data_ptr()
    }


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            lambda t: t.split([1, 2]),
            r"shape \[4, 6\] cannot be split into \[1, 2\] along dimension 0",
        ),
        (lambda t: Lazy.cat([t, t[:2]], 1), r"cannot join .*\[2, 6\] to .*\[4, 6\]"),
        (lambda t: Lazy.stack([t, Lazy.of(X.half())]), "cannot join torch.float16"),
        (lambda t: rename({"a": t, "b": t}, {"a": "b"}), "are both 'b'"),
        (lambda t: stack({"e.0.w": t, "e.2.w": t}, {"e.{}.w": "e.w"}), "lacks 1 of 'e.w'"),
    ],
)
def test_what_does_not_fit_is_an_error(operation, message):
    with pytest.raises(CheckpointError, match=message):
        operation(Lazy.of(X))


def names(*keys):
    return {key: Lazy.of(X) for key in keys}


def test_rename_and_drop():
    tensors = names("model.language_model.norm.weight", "lm_head.weight", "a.rotary_emb.inv_freq")
    rules = {r"^model\.language_model\.": "model.", r"^lm_": "model.lm_"}
    assert list(rename(drop(tensors, r"inv_freq$", "^vision"), rules)) == [
        "model.norm.weight",
        "model.lm_head.weight",
    ]


def test_split_fused():
    tensors = {
        "l.0.qkv_proj.weight": Lazy.of(X),
        "l.0.qkv_proj.bias": Lazy.of(X[:, 0]),
        "l.0.my_qkv_proj.weight": Lazy.of(Y),
    }
    out = split(tensors, {"qkv_proj": {"q": 2, "k": 1, "v": 1}})
    assert sorted(out) == sorted(
        [f"l.0.{p}.{kind}" for p in "qkv" for kind in ("weight", "bias")]
        + ["l.0.my_qkv_proj.weight"]
    )
    assert torch.equal(out["l.0.k.weight"].load(), X[2:3])
    assert torch.equal(out["l.0.v.bias"].load(), X[3:, 0])
    halves = split({"e.gate_up": Lazy.of(X)}, {"gate_up": {"gate": 3, "up": 3}}, dim=1)
    assert torch.equal(halves["e.up"].load(), X[:, 3:])


def test_stack_numbered():
    tensors = {f"l.7.experts.{i}.w1.weight": Lazy.of(X + i) for i in (2, 0, 10, *range(3, 10), 1)}
    tensors |= {"l.7.experts.0.w10.weight": Lazy.of(Y), "l.7.norm.weight": Lazy.of(Y)}
    out = stack(tensors, {"experts.{}.w1": "experts.gate_proj"})
    assert sorted(out) == [
        "l.7.experts.0.w10.weight",
        "l.7.experts.gate_proj.weight",
        "l.7.norm.weight",
    ]
    assert torch.equal(
        out["l.7.experts.gate_proj.weight"].load(), torch.stack([X + i for i in range(11)])
    )
