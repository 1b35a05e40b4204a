"""Low-rank adapters (LoRA, arXiv 2106.09685): what a step's sequences add to a linear layer, each by its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.linear import Linear, empty
from mistralrs.quant.weight import Weight


@dataclass(frozen=True)
class Adapter:
    """The shape of an adapter, and which layers it changes."""

    rank: int
    scale: float  # alpha / rank
    pattern: str  # a regular expression that is found in the names of those layers


class LoRA(nn.Module):
    """scale * B A x."""

    matrices = ("lora_A", "lora_B")
    lora_A: Weight
    lora_B: Weight

    def __init__(self, inputs: int, outputs: int, adapter: Adapter):
        super().__init__()
        self.register_parameter("lora_A", empty(adapter.rank, inputs))
        self.register_parameter("lora_B", empty(outputs, adapter.rank))
        self.scale = adapter.scale

    def forward(self, x: Tensor) -> Tensor:
        """x [T, K] -> [T, N]."""
        return self.lora_B.matmul(self.lora_A.matmul(x)) * self.scale


class Active:
    """Which rows of the step that runs now have which adapter; the adapted layers of a model share one."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, slice]] = []

    def begin(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        """A step begins: a hook before a model's forward."""
        self.rows = list(spans(args[0]))

    def end(self, *_: Any) -> None:
        """It is over: a hook behind a model's forward. Layers that run outside of one have no adapter."""
        self.rows = []


def spans(batch: Batch) -> Iterator[tuple[str, slice]]:
    """The rows of each run of sequences with the same adapter."""
    if not batch.adapters:
        return
    for name, group in groupby(batch.spans(), lambda span: batch.adapters[span[0]]):
        if name is not None:
            of_name = list(group)
            yield name, slice(of_name[0][1], of_name[-1][2])


class Adapted(Linear):
    """A linear layer that some sequences see changed. The matrix is shared, may be quantized, and is never changed."""

    def __init__(self, base: Linear, adapters: Mapping[str, Adapter], active: Active):
        outputs, inputs = base.weight.shape
        super().__init__(inputs, outputs, base.bias is not None)
        self.adapters = nn.ModuleDict({n: LoRA(inputs, outputs, a) for n, a in adapters.items()})
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """x [T, K] -> [T, N]."""
        y = super().forward(x)
        for name, rows in self.active.rows:
            if name in self.adapters:
                y[rows] += self.adapters[name](x[rows])
        return y
