"""LFM 2 MoE: LFM 2 whose later layers pick experts by sigmoid scores; a learned bias balances the choice."""

from torch import Tensor, nn

from mistralrs.models import lfm2
from mistralrs.nn.activation import sigmoid
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, stacked


class MoE(nn.Module):
    """The sum of the chosen experts' outputs, weighted by their scores without the bias."""

    exact = ("expert_bias",)

    def __init__(self, cfg: Settings):
        super().__init__()
        self.gate = Linear(cfg.hidden_size, cfg.num_experts)
        self.expert_bias = empty(cfg.num_experts) if cfg.use_expert_bias else None
        self.experts = Experts(cfg.num_experts, cfg.hidden_size, cfg.moe_intermediate_size)
        self.top, self.renormalize = cfg.num_experts_per_tok, cfg.norm_topk_prob
        self.scale = cfg.routed_scaling_factor

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.experts(x, *self.route(sigmoid(self.gate(x).float())))

    def route(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [T, E] -> weights and ids [T, k]."""
        biased = score if self.expert_bias is None else score + self.expert_bias
        expert = biased.topk(self.top).indices
        weight = score.gather(1, expert)
        if self.renormalize:
            weight = weight / (weight.sum(-1, keepdim=True) + 1e-6)
        return weight * self.scale, expert


class Block(lfm2.Block):
    """A LFM 2 block; the first layers are dense."""

    def mixture(self, cfg: Settings, layer: int) -> nn.Module:
        if layer < cfg.num_dense_layers:
            return GatedMLP(cfg.hidden_size, cfg.intermediate_size)
        return MoE(cfg)


class Lfm2Moe(lfm2.Lfm2):
    Block = Block
    defaults = dict(
        lfm2.Lfm2.defaults,
        num_dense_layers=2,
        use_expert_bias=True,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return stacked(super().checkpoint(cfg, tensors), cfg.moe_intermediate_size)
