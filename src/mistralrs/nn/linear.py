"""Linear and Embedding over a weight in any format. Parameter names are those of Hugging Face checkpoints."""

import torch
from torch import Tensor, nn

from mistralrs.quant.weight import Weight


class Linear(nn.Module):
    """y = x W^T + b."""

    matrices = ("weight",)  # the parameters that become a Weight
    weight: Weight
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool = False):
        super().__init__()
        self.register_parameter("weight", empty(outputs, inputs))
        self.register_parameter("bias", empty(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, K] -> [T, N]."""
        return self.weight.matmul(x, self.bias)


class Embedding(nn.Module):
    """A table of rows looked up by id."""

    matrices = ("weight",)
    weight: Weight

    def __init__(self, rows: int, dim: int):
        super().__init__()
        self.register_parameter("weight", empty(rows, dim))

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """ids [T] -> [T, D]."""
        return self.weight.rows(ids, dtype)


def empty(*shape: int) -> nn.Parameter:
    """A parameter without storage: models are built as shapes and filled tensor by tensor."""
    return nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)


def place(module: nn.Module, leaf: str, weight: Weight) -> None:
    """Put a weight where the parameter `leaf` was declared."""
    module._parameters.pop(leaf, None)
    setattr(module, leaf, weight)
