"""Recurrences against float64, and the same bits for any cut of the sequences."""

import pytest
import torch
from torch.nn import functional as F

from mistralrs import kernels
from mistralrs.kernels.recurrence import recurrence, recurrence_reference
from tests.kernels.ragged import CUTS, LENGTHS, ROWS, batch, steps

SHAPES = [  # heads, groups, keys, values: around the vectors and stripes of cpu/recurrence.h
    (1, 1, 1, 1), (3, 3, 5, 4), (4, 2, 7, 33), (2, 1, 16, 32), (6, 2, 31, 64), (2, 2, 128, 130),
]  # fmt: skip


def inputs(heads: int, groups: int, keys: int, values: int) -> dict[str, torch.Tensor]:
    """Unit keys, as the delta rule needs to stay small; q and v are slices of wider tensors."""
    return dict(
        q=torch.randn(ROWS, groups, keys + 3)[..., :keys],
        k=F.normalize(torch.randn(ROWS, groups, keys), dim=-1),
        v=torch.randn(ROWS, 2 * heads, values)[:, heads:],
        decay=torch.rand(ROWS, heads),
        beta=torch.rand(ROWS, heads),
    )


def run(given: dict[str, torch.Tensor], delta: bool, cuts: list[list[int]]):
    """Outputs and states after these steps, from slots full of another's numbers."""
    q, k, v, decay, beta = given.values()
    states = torch.full((9, v.shape[1], k.shape[2], v.shape[2]), 9.0)

    def call(rows, part):
        some = beta[rows] if delta else None
        return recurrence(q[rows], k[rows], v[rows], decay[rows], some, states, part)

    return steps(call, cuts), states


def exact(given: dict[str, torch.Tensor], delta: bool, sign: int):
    """Outputs and states in float64; with sign +1 and absolute inputs, how large their terms are together."""
    q, k, v, decay, beta = (x.double() for x in given.values())
    if sign > 0:
        q, k, v = q.abs(), k.abs(), v.abs()
    each = v.shape[1] // k.shape[1]
    q, k = q.repeat_interleave(each, 1), k.repeat_interleave(each, 1)
    out, states, row = torch.zeros_like(v), [], 0
    for count in LENGTHS:
        state = torch.zeros(v.shape[1], k.shape[2], v.shape[2], dtype=torch.float64)
        for t in range(row, row + count):
            state, u = state * decay[t, :, None, None], v[t]
            if delta:
                u = beta[t, :, None] * (u + sign * torch.einsum("hkv,hk->hv", state, k[t]))
            state = state + k[t][..., None] * u[:, None]
            out[t] = torch.einsum("hkv,hk->hv", state, q[t])
        states.append(state)
        row += count
    return out, torch.stack(states)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_recurrence(isa, shape, delta):
    given = inputs(*shape)
    got, states = run(given, delta, CUTS["whole"])
    slots = [7 - i for i in range(len(LENGTHS))]
    # A token rounds a state a few times and adds `keys` products in two chains. By the delta rule errors pass on.
    bound = (shape[2] + 8) / 2 * (max(LENGTHS) if delta else 4) * 2**-24
    found = got, states[slots]
    for x, want, size in zip(found, exact(given, delta, -1), exact(given, delta, 1), strict=True):
        assert ((x.double() - want).abs() <= size * bound + 1e-30).all()
    assert (states[[i for i in range(9) if i not in slots]] == 9).all()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("shape", [(4, 2, 7, 33), (2, 1, 16, 64), (2, 2, 128, 130)], ids=str)
def test_cuts_and_threads_do_not_change_a_bit(isa, shape, delta, cut):
    given = inputs(*shape)
    out, states = run(given, delta, CUTS["whole"])
    for threads in (1, 3):
        with kernels.use(isa, threads=threads):
            again = run(given, delta, CUTS[cut])
        assert torch.equal(out, again[0])
        assert torch.equal(states, again[1])


@pytest.mark.parametrize("delta", [False, True])
def test_a_large_call_is_shared_by_threads(isa, delta):
    q, k, v = (torch.randn(64, 8, 64) for _ in range(3))
    k, decay, beta = F.normalize(k, dim=-1), torch.rand(64, 8), torch.rand(64, 8)
    part = batch([30, 34], [1, 0], [True, False])
    found = []
    for threads, call in ((1, recurrence), (4, recurrence), (1, recurrence_reference)):
        states = torch.ones(2, 8, 64, 64)
        with kernels.use(isa, threads=threads):
            out = call(q, k, v, decay, beta if delta else None, states, part)
        found.append((out, states))
    assert all(map(torch.equal, *found[:2]))
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-4)
