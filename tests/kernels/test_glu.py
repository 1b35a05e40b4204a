"""Activations against float64 over the whole range where they are not trivial."""

import pytest
import torch

from mistralrs.kernels.glu import ACTS, activate, glu

RANGE = torch.cat(
    (torch.linspace(-30, 30, 100_001), torch.logspace(-30, 2, 1001), -torch.logspace(-30, 2, 1001))
)


EXACT = {  # in float64, without the cancellation that 1 + erf(x) has in the lower tail
    "silu": lambda x: x * torch.sigmoid(x),
    "gelu": lambda x: x / 2 * torch.erfc(-x / 2**0.5),
    "gelu_pytorch_tanh": lambda x: ACTS["gelu_pytorch_tanh"](x),
}


@pytest.mark.parametrize("act", ACTS)
def test_glu(isa, act):
    want = EXACT[act](RANGE[None].double())
    error = (glu(RANGE[None], torch.ones(1, len(RANGE)), act).double() - want).abs()
    # The tanh form cancels for negative inputs: its error is relative to the input.
    size = RANGE.abs().double() if act == "gelu_pytorch_tanh" else want.abs()
    bound = {"silu": 2**-21, "gelu": 2**-16, "gelu_pytorch_tanh": 2**-22}[act]
    assert (error <= size * bound + 1e-36).all()  # 1e-36: what a flushed subnormal exp leaves


@pytest.mark.parametrize("act", ACTS)
def test_glu_of_fused_halves(isa, act):
    gate, up = torch.randn(70, 2 * 101).chunk(2, 1)
    got = glu(gate, up, act)
    torch.testing.assert_close(got, ACTS[act](gate) * up, rtol=1e-5, atol=1e-6)
    assert torch.equal(
        got, torch.cat([glu(gate[i : i + 1], up[i : i + 1], act) for i in range(70)])
    )


@pytest.mark.parametrize("act", ACTS)
def test_activate(isa, act):
    x = torch.randn(70, 101)
    assert torch.equal(activate(x, act), glu(x, torch.ones_like(x), act))


def test_not_a_number_stays(isa):
    x = torch.full((1, 9), torch.nan)
    assert all(glu(x, torch.ones_like(x), act).isnan().all() for act in ACTS)
