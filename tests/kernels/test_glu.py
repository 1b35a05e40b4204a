"""Activations against float64 over the whole range where they are not trivial."""

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.glu import ACTS

RANGE = torch.cat(
    (torch.linspace(-30, 30, 100_001), torch.logspace(-30, 2, 1001), -torch.logspace(-30, 2, 1001))
)


@pytest.mark.parametrize("act", ACTS)
def test_glu(isa, act):
    gate = RANGE[None]
    up = torch.ones_like(gate)
    error = (kernels.glu(gate, up, act).double() - ACTS[act](gate.double())).abs()
    # gelu in its tanh form cancels for negative inputs: there the error is relative to the input.
    size = gate.abs().double() if act == "gelu_pytorch_tanh" else ACTS[act](gate.double()).abs()
    assert (error <= size * 2**-18 + 1e-37).all()


@pytest.mark.parametrize("act", ACTS)
def test_glu_of_fused_halves(isa, act):
    gate, up = torch.randn(70, 2 * 101).chunk(2, 1)
    got = kernels.glu(gate, up, act)
    torch.testing.assert_close(got, ACTS[act](gate) * up, rtol=1e-5, atol=1e-6)
    assert torch.equal(
        got, torch.cat([kernels.glu(gate[i : i + 1], up[i : i + 1], act) for i in range(70)])
    )


def test_not_a_number_stays(isa):
    x = torch.full((1, 9), torch.nan)
    assert all(kernels.glu(x, torch.ones_like(x), act).isnan().all() for act in ACTS)
