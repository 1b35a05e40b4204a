"""Qwen 3.5, text only: Qwen 3 Next whose delta nets project queries, keys, values, gates and decays one by one."""

from torch import Tensor

from mistralrs.models import qwen3_next
from mistralrs.nn.checkpoint import Lazy, drop
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear


class GatedDeltaNet(qwen3_next.GatedDeltaNet):
    """Qwen 3 Next's, with a matrix for each of its inputs."""

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        dim = cfg.hidden_size
        del self.in_proj_qkvz, self.in_proj_ba
        self.in_proj_qkv = Linear(dim, 2 * self.key + self.value)
        self.in_proj_z = Linear(dim, self.value)
        self.in_proj_b, self.in_proj_a = Linear(dim, self.heads), Linear(dim, self.heads)

    def project(self, x: Tensor) -> list[Tensor]:
        """x [T, D] -> q, k, v, z, b, a [T, ...]."""
        qkv = self.in_proj_qkv(x).split([self.key, self.key, self.value], -1)
        return [*qkv, self.in_proj_z(x), self.in_proj_b(x), self.in_proj_a(x)]


class Block(qwen3_next.Block):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    Delta = GatedDeltaNet


class Qwen3_5(qwen3_next.Qwen3Next):
    Block = Block
    defaults = dict(qwen3_next.Qwen3Next.defaults, num_experts=0, moe_intermediate_size=0)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return drop(super().checkpoint(cfg, tensors), r"^mtp\.")  # drafts several tokens
