"""Grouped-query attention over the paged cache, and over media beside the text."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.cache import Paged, Seen
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


class CrossAttention(nn.Module):
    """Attention to media beside the text; the `layer`-th of its kind in a model."""

    def __init__(
        self,
        dim: int,
        heads: int,
        groups: int,
        head_dim: int,
        *,
        layer: int,
        qk_norm: Callable[[int], nn.Module],
    ):
        super().__init__()
        self.q_proj = Linear(dim, heads * head_dim)
        self.k_proj = Linear(dim, groups * head_dim)
        self.v_proj = Linear(dim, groups * head_dim)
        self.o_proj = Linear(heads * head_dim, dim)
        self.q_norm, self.k_norm = qk_norm(head_dim), qk_norm(head_dim)
        self.head_dim, self.seen = head_dim, Seen(layer, groups, head_dim)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [n, D] of the rows in `batch.sights` -> [n, D]."""
        q = self.q_norm(self.heads(self.q_proj(x)))
        return self.o_proj(self.seen.attend(q, batch, self.head_dim**-0.5).flatten(1))

    def show(self, x: Tensor) -> Tensor:
        """What it sees of an encoded medium: x [rows, S, D] -> keys and values [rows, 2, KV, S, d]."""
        k, v = (self.heads(p(x.flatten(0, 1))) for p in (self.k_proj, self.v_proj))
        k, v = (y.unflatten(0, x.shape[:2]) for y in (self.k_norm(k), v))
        return self.seen.pack(k, v)

    def heads(self, x: Tensor) -> Tensor:
        """x [T, H * D] -> [T, H, D]."""
        return x.unflatten(-1, (-1, self.head_dim))
