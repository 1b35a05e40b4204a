"""Feed-forward blocks."""

from torch import Tensor, nn

from mistralrs.kernels.glu import activate, glu
from mistralrs.nn.linear import Linear


ACT_NAMES = {"gelu_new": "gelu_pytorch_tanh"}  # other names of the kernels' functions


class MLP(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, dim: int, width: int, act: str, bias: bool = True):
        super().__init__()
        self.up_proj = Linear(dim, width, bias)
        self.down_proj = Linear(width, dim, bias)
        self.act = ACT_NAMES.get(act, act)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.down_proj(activate(self.up_proj(x), self.act))


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, dim: int, width: int, act: str = "silu", bias: bool = False):
        super().__init__()
        self.gate_proj = Linear(dim, width, bias)
        self.up_proj = Linear(dim, width, bias)
        self.down_proj = Linear(width, dim, bias)
        self.act = ACT_NAMES.get(act, act)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.down_proj(glu(self.gate_proj(x), self.up_proj(x), self.act))
