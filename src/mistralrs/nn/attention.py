"""Grouped-query attention over the paged cache."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.cache import Paged
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.rope import Rope


class Attention(nn.Module):
    """`heads` query heads share `groups` key/value heads of `head_dim` features.

    One that does not write has no keys and values of its own: the model gives it the cache of an earlier layer.
    """

    k_proj: Linear
    v_proj: Linear

    def __init__(
        self,
        dim: int,
        heads: int,
        groups: int,
        head_dim: int,
        *,
        rope: Rope | None,
        bias: bool = False,
        out_bias: bool = False,
        qk_norm: Callable[[int], nn.Module] | None = None,
        window: int | None = None,
        chunk: int | None = None,
        scale: float | None = None,
        softcap: float | None = None,
        sinks: bool = False,
        causal: bool = True,
        writes: bool = True,
    ):
        super().__init__()
        self.q_proj = Linear(dim, heads * head_dim, bias)
        for name in ("k_proj", "v_proj"):
            self.register_module(name, Linear(dim, groups * head_dim, bias) if writes else None)
        self.o_proj = Linear(heads * head_dim, dim, out_bias)
        self.q_norm = qk_norm(head_dim) if qk_norm else None
        self.k_norm = qk_norm(head_dim) if qk_norm and writes else None
        self.sinks = empty(heads) if sinks else None
        self.rope, self.head_dim, self.writes = rope, head_dim, writes
        self.cache = Paged(groups, head_dim, head_dim)
        self.rule: dict[str, Any] = dict(
            scale=scale or head_dim**-0.5, window=window, softcap=softcap, causal=causal
        )
        if chunk:
            self.rule["chunk"] = chunk

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        q, k, v = (self.heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            q, k = self.rope(q, batch), self.rope(k, batch)
        out = self.cache.attend(q, k, v, batch, sinks=self.sinks, **self.rule)
        return self.o_proj(out.flatten(1))

    def heads(self, x: Tensor) -> Tensor:
        """x [T, H * D] -> [T, H, D]."""
        return x.unflatten(-1, (-1, self.head_dim))
