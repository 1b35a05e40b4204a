"""Mixtral: Mistral with eight experts in place of the feed-forward block, two for each token."""

from torch import Tensor, nn

from mistralrs.models import mistral
from mistralrs.nn.checkpoint import Tensors, rename
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.moe import Experts, softmax_top, stacked


class MoE(nn.Module):
    """The best `top` of `count` experts, weighted by the softmax over all of them."""

    def __init__(
        self, cfg: Settings, count: int, width: int, top: int, renormalize: bool = True
    ) -> None:
        super().__init__()
        self.gate = Linear(cfg.hidden_size, count)
        self.experts = Experts(count, cfg.hidden_size, width, cfg.hidden_act)
        self.top, self.renormalize = top, renormalize

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.experts(x, *softmax_top(self.gate(x), self.top, self.renormalize))


class Block(mistral.Block):
    """A Mistral block with experts."""

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return MoE(cfg, cfg.num_local_experts, cfg.intermediate_size, cfg.num_experts_per_tok)


class Mixtral(Decoder):
    Block = Block
    defaults = dict(
        mistral.Mistral.defaults,
        rms_norm_eps=1e-5,
        rope_theta=1e6,
        num_local_experts=8,
        num_experts_per_tok=2,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return stacked(rename(tensors, {r"\bblock_sparse_moe\b": "mlp"}), cfg.intermediate_size)
