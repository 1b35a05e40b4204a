"""DeepSeek V3 and R1: V2 with sigmoid scores and a bias that balances the choice of experts."""

from torch import Tensor, nn

from mistralrs.models import deepseek_v2
from mistralrs.nn.activation import sigmoid
from mistralrs.nn.decoder import Settings
from mistralrs.nn.moe import in_best_groups


class MoE(deepseek_v2.MoE):
    """Experts chosen by biased sigmoid scores and weighted by unbiased ones."""

    correction = True

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Router logits [T, E] -> weights and ids [T, k]; a group is as strong as its best two experts."""
        cfg, scores = self.cfg, sigmoid(logits)
        biased = scores + self.gate.e_score_correction_bias
        strength = biased.unflatten(-1, (cfg.n_group, -1)).topk(2).values.sum(-1)
        choice = in_best_groups(biased, strength, cfg.topk_group, float("-inf"))
        expert = choice.topk(cfg.num_experts_per_tok).indices
        weight = scores.gather(-1, expert)
        if cfg.norm_topk_prob:
            weight = weight / (weight.sum(-1, keepdim=True) + 1e-20)
        return weight, expert


class Block(deepseek_v2.Block):
    """A DeepSeek V2 block with the router of V3."""

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return deepseek_v2.feed_forward(cfg, layer, MoE)


class DeepseekV3(deepseek_v2.DeepseekV2):
    Block = Block
    defaults = dict(deepseek_v2.DeepseekV2.defaults, norm_topk_prob=True)
