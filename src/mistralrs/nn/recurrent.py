"""Layers with a memory of fixed size: short convolutions and linear recurrences.

Both read what their sequence left behind, compute its tokens in order and leave the rest for the next step. Every
number is summed in an order that depends on neither the step's size nor the other sequences, so that a prompt cut
into chunks gives the same bits as one computed whole.
"""

from torch import Tensor, nn

from mistralrs.kernels.conv import conv
from mistralrs.kernels.recurrence import recurrence
from mistralrs.nn.batch import Batch
from mistralrs.nn.cache import State
from mistralrs.nn.linear import empty


class Conv(nn.Module):
    """A causal convolution of every channel with its own `taps` weights, in the layout of `nn.Conv1d`."""

    def __init__(self, channels: int, taps: int, bias: bool = False, act: str | None = None):
        super().__init__()
        self.weight = empty(channels, 1, taps)
        self.bias = empty(channels) if bias else None
        self.act = act
        self.cache = State(tail=(taps - 1, channels))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, C] -> [T, C]: each row from itself and the `taps - 1` rows of its sequence before it."""
        tails = self.cache.data["tail"]
        return conv(x, self.weight[:, 0], self.bias, tails, batch, self.act)


class Recurrence(nn.Module):
    """A state [K, V] per head that decays, takes in a key and a value with each token, and answers a query.

    `kernels.recurrence` has the formulas.
    """

    def __init__(self, heads: int, k_dim: int, v_dim: int):
        super().__init__()
        self.cache = State(state=(heads, k_dim, v_dim))

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        decay: Tensor,
        batch: Batch,
        beta: Tensor | None = None,
    ) -> Tensor:
        """q, k [T, G, K], v [T, H, V], decay and beta [T, H] -> [T, H, V], computed in float32.

        A pair of q and k serves H / G heads side by side.
        """
        return recurrence(q, k, v, decay, beta, self.cache.data["state"], batch)
