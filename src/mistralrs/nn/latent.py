"""Multi-head latent attention (arXiv 2405.04434): keys and values of all heads come from one small vector."""

import torch
from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.cache import Paged
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.rope import Rope
from mistralrs.quant.weight import Weight


class LatentAttention(nn.Module):
    """The cache holds the latent vector and one rotated key: a single head that all queries share.

    `up_k` [H, R, N] moves the queries' N unrotated features into the latent space of R features, where they are
    compared; `up_v` [H, V, R] turns the mean of the latents into a head's values.
    """

    matrices = ("up_k", "up_v")
    up_k: Weight
    up_v: Weight

    def __init__(
        self,
        dim: int,
        heads: int,
        rank: int,
        *,
        rope: Rope,
        nope_dim: int,
        v_dim: int,
        q_rank: int | None = None,
        bias: bool = False,
        scale: float,
    ):
        super().__init__()
        width = heads * (nope_dim + rope.dim)
        self.low_rank = q_rank is not None
        if q_rank is not None:
            self.q_a_proj = Linear(dim, q_rank, bias)
            self.q_a_layernorm = RMSNorm(q_rank)
            self.q_b_proj = Linear(q_rank, width)
        else:
            self.q_proj = Linear(dim, width)
        self.kv_a_proj_with_mqa = Linear(dim, rank + rope.dim, bias)
        self.kv_a_layernorm = RMSNorm(rank)
        self.register_parameter("up_k", empty(heads, rank, nope_dim))
        self.register_parameter("up_v", empty(heads, v_dim, rank))
        self.o_proj = Linear(heads * v_dim, dim, bias)
        self.cache = Paged(1, rank + rope.dim, rank, shared=True)
        self.rope, self.scale, self.heads = rope, scale, heads
        self.q_parts, self.kv_parts = (nope_dim, rope.dim), (rank, rope.dim)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        q, q_rope = self.queries(x).split(self.q_parts, -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x)[:, None].split(self.kv_parts, -1)
        q = torch.cat((self.up_k.each(q), self.rope(q_rope, batch)), -1)
        k = torch.cat((self.kv_a_layernorm(latent), self.rope(k_rope, batch)), -1)
        out = self.cache.attend(q, k, None, batch, scale=self.scale)
        return self.o_proj(self.up_v.each(out).flatten(1))

    def queries(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, H, N + rope]."""
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))) if self.low_rank else self.q_proj(x)
        return q.unflatten(-1, (self.heads, -1))


def split_up(tensors: Tensors, heads: int, nope_dim: int, v_dim: int) -> Tensors:
    """`kv_b_proj` [H * (N + V), R] as the stacks `up_k` [H, R, N] and `up_v` [H, V, R]."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        prefix, found, _ = name.partition("kv_b_proj.weight")
        if not found:
            out[name] = tensor
            continue
        stack = tensor.reshape(heads, nope_dim + v_dim, tensor.shape[1])
        k, v = stack.split((nope_dim, v_dim), 1)
        out |= {f"{prefix}up_k": k.transpose().map(Tensor.contiguous), f"{prefix}up_v": v}
    return out
