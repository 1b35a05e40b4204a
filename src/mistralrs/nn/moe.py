"""Mixtures of experts: a router in the model file picks, stacked experts compute."""

import torch
from torch import Tensor, nn

from mistralrs.kernels.glu import glu
from mistralrs.nn.checkpoint import Tensors, split, stack
from mistralrs.nn.linear import Linear, empty
from mistralrs.quant.weight import Weight

# Names of one expert's matrices in checkpoints; the second spelling is Mixtral's.
SEPARATE = {
    f"experts.{{}}.{old}.weight": f"experts.{new}_proj"
    for new, names in {"gate": "gate_proj w1", "up": "up_proj w3", "down": "down_proj w2"}.items()
    for old in names.split()
}


class Experts(nn.Module):
    """E gated MLPs as stacked matrices [E, N, K]; each token visits its own few."""

    matrices = ("gate_proj", "up_proj", "down_proj")
    gate_proj: Weight
    up_proj: Weight
    down_proj: Weight

    def __init__(self, count: int, dim: int, width: int, act: str = "silu", bias: bool = False):
        super().__init__()
        for name, shape in (("gate", (width, dim)), ("up", (width, dim)), ("down", (dim, width))):
            self.register_parameter(f"{name}_proj", empty(count, *shape))
            self.register_parameter(f"{name}_bias", empty(count, shape[0]) if bias else None)
        self.act = act

    def forward(self, x: Tensor, weight: Tensor, expert: Tensor) -> Tensor:
        """x [T, D], weight and expert [T, k] -> [T, D]: the weighted sum of k experts' outputs."""
        k = expert.shape[1]
        rows, ids = x.repeat_interleave(k, 0), expert.flatten()
        hidden = self.mix(self.apply_one("gate", rows, ids), self.apply_one("up", rows, ids))
        out = self.apply_one("down", hidden, ids).unflatten(0, (-1, k))
        return (out * weight[..., None].to(out.dtype)).sum(1)

    def mix(self, gate: Tensor, up: Tensor) -> Tensor:
        """gate, up [M, F] -> [M, F]; architectures with another product override it."""
        return glu(gate, up, self.act)

    def apply_one(self, name: str, x: Tensor, ids: Tensor) -> Tensor:
        """x [M, K] through matrix `ids[m]` of one stack, with its bias -> [M, N]."""
        y = getattr(self, f"{name}_proj").gather(x, ids)
        bias = getattr(self, f"{name}_bias")
        return y if bias is None else y + bias[ids]


class Router(Linear):
    """Logits of E experts in float32, whatever the dtype of activations.

    `e_score_correction_bias` [E] balances the load (arXiv 2408.15664): it takes part in the choice of experts,
    not in their weights.
    """

    exact = ("e_score_correction_bias",)
    e_score_correction_bias: Tensor | None

    def __init__(self, dim: int, count: int, correction: bool = False):
        super().__init__(dim, count)
        self.register_parameter("e_score_correction_bias", empty(count) if correction else None)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> float32 [T, E]."""
        return super().forward(x.float())


def in_best_groups(scores: Tensor, strength: Tensor, keep: int, other: float) -> Tensor:
    """scores [T, E] where experts outside the `keep` strongest groups get `other`; strength [T, G].

    Neighbouring experts form a group, as a rule on one machine (arXiv 2405.04434, section 2.2.2).
    """
    best = strength.topk(keep).indices
    outside = torch.ones_like(strength, dtype=torch.bool).scatter(-1, best, False)
    groups = scores.unflatten(-1, (strength.shape[-1], -1))
    return groups.masked_fill(outside[..., None], other).flatten(-2)


def softmax_top(logits: Tensor, k: int, renormalize: bool = True) -> tuple[Tensor, Tensor]:
    """Router logits [T, E] -> weights and ids [T, k]: softmax over all experts, keep the best k."""
    weight, expert = logits.float().softmax(-1).topk(k)
    return (weight / weight.sum(-1, keepdim=True) if renormalize else weight), expert


def top_softmax(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Router logits [T, E] -> weights and ids [T, k]: keep the best k, softmax over those."""
    best, expert = logits.float().topk(k)
    return torch.softmax(best, -1), expert


def stacked(tensors: Tensors, width: int) -> Tensors:
    """The experts of a checkpoint as three stacks, also where each lies alone or gate and up are fused.

    `width` is the number of hidden features of one expert.
    """
    halves = {"experts.gate_proj": width, "experts.up_proj": width}
    return split(stack(tensors, SEPARATE), {"experts.gate_up_proj": halves}, dim=1)
