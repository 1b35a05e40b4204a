"""Convolutions and recurrences against a loop over tokens; a sequence cut into steps gives the same bits."""

import pytest
import torch
from torch.nn import functional as F

from mistralrs.engine.batch import host
from mistralrs.nn.activation import sigmoid, softplus
from mistralrs.nn.batch import Batch
from mistralrs.nn.recurrent import Conv, Recurrence

LENGTHS = [5, 1, 7, 3]  # of sequences that run together
CPU = torch.device("cpu")


def steps(cuts: list[list[int]]):
    """Batches that compute so many more tokens of each sequence, and the rows of the inputs that they take."""
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0).tolist()
    done = [0] * len(LENGTHS)
    for cut in cuts:
        some = [i for i, count in enumerate(cut) if count]
        rows = [offsets[i] + done[i] + t for i in some for t in range(cut[i])]
        starts = host([0, *torch.tensor([cut[i] for i in some]).cumsum(0).tolist()])
        fresh = torch.tensor([done[i] == 0 for i in some])
        done = [a + b for a, b in zip(done, cut, strict=True)]
        none = torch.zeros(0)
        slots = host([5 - i for i in some])
        tokens = torch.zeros(len(rows))
        yield rows, Batch(tokens, none, starts, none, none, none, slots, fresh, none)


CUTS = {
    "whole": [LENGTHS],
    "one by one": [[int(t < n) for n in LENGTHS] for t in range(max(LENGTHS))],
    "ragged": [[2, 0, 3, 0], [0, 1, 1, 2], [3, 0, 3, 1]],
    "alone": [[n if i == k else 0 for k, n in enumerate(LENGTHS)] for i in range(len(LENGTHS))],
}


def run(layer, inputs: tuple[torch.Tensor, ...], cuts: list[list[int]], **named) -> torch.Tensor:
    """What a layer makes of inputs [sum(LENGTHS), ...] in these steps, from slots full of another's state."""
    layer.cache.allocate(8, CPU)
    for data in layer.cache.data.values():
        data.fill_(9.0)
    out: dict[int, torch.Tensor] = {}
    for rows, batch in steps(cuts):
        some = {name: value[rows] for name, value in named.items()}
        out |= zip(rows, layer(*(x[rows] for x in inputs), batch=batch, **some), strict=True)
    return torch.stack([out[row] for row in sorted(out)])


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(sum(LENGTHS), *shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("taps", "bias"), [(2, False), (3, True), (4, False)])
def test_conv(cut, taps, bias):
    layer = Conv(6, taps, bias)
    layer.weight = torch.nn.Parameter(torch.randn(6, 1, taps))
    if bias:
        layer.bias = torch.nn.Parameter(torch.randn(6))
    x = noise(6)
    with torch.inference_mode():
        found = run(layer, (x,), CUTS[cut])
        padded = [F.pad(part.T, (taps - 1, 0)) for part in x.split(LENGTHS)]
        expected = [F.conv1d(part, layer.weight, layer.bias, groups=6).T for part in padded]
        assert torch.equal(found, run(layer, (x,), CUTS["whole"]))
    torch.testing.assert_close(found, torch.cat(expected))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("delta", [False, True])
def test_recurrence(cut, delta):
    layer = Recurrence(3, 5, 4)
    q, k, v = noise(3, 5), noise(3, 5) / 2, noise(3, 4)
    decay, beta = noise(3).sigmoid(), noise(3).sigmoid()
    named = dict(beta=beta) if delta else {}
    with torch.inference_mode():
        found = run(layer, (q, k, v, decay), CUTS[cut], **named)
        assert torch.equal(found, run(layer, (q, k, v, decay), CUTS["whole"], **named))
    torch.testing.assert_close(found, by_hand(q, k, v, decay, beta if delta else None))


def by_hand(q, k, v, decay, beta) -> torch.Tensor:
    """The recurrence as it is written down, in float64."""
    out, row = [], 0
    for length in LENGTHS:
        state = torch.zeros(3, 5, 4, dtype=torch.float64)
        for t in range(row, row + length):
            state = state * decay[t, :, None, None]
            u = v[t].double()
            if beta is not None:
                u = beta[t, :, None] * (u - torch.einsum("hkv,hk->hv", state, k[t].double()))
            state = state + torch.einsum("hk,hv->hkv", k[t].double(), u)
            out.append(torch.einsum("hkv,hk->hv", state, q[t].double()))
        row += length
    return torch.stack(out).float()


@pytest.mark.parametrize(("ours", "theirs"), [(sigmoid, torch.sigmoid), (softplus, F.softplus)])
def test_activations(ours, theirs):
    x = torch.cat([torch.linspace(-30, 30, 997), torch.tensor([-200.0, 0.0, 200.0])])
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    for end in range(1, 70):
        assert torch.equal(ours(x[:end]), ours(x)[:end])
