"""The optimizer: Muon (orthogonalized momentum) for matrices, AdamW for all else.

On this small model Muon needs far fewer steps than AdamW alone, and time is what is short.
"""

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
DECAY = 0.05


def orthogonalized(stack: Tensor, rounds: int = 4) -> Tensor:
    """Push the singular values of a stack of wide matrices towards one (Newton-Schulz)."""
    x = stack / (stack.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x


def wide(matrix: Tensor) -> Tensor:
    """Turn a tall matrix on its side."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


class Muon:
    """Momentum whose direction is made orthogonal, with equal shapes done in one go."""

    def __init__(self, matrices: list[nn.Parameter]) -> None:
        self.momenta = {p: torch.zeros_like(p) for p in matrices}
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for p in matrices:
            self.groups.setdefault(tuple(wide(p).shape), []).append(p)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update all matrices; the step is scaled to be about as large as one of AdamW."""
        for shape, members in self.groups.items():
            moves = orthogonalized(torch.stack([self.direction(p) for p in members]))
            scale = -rate * 0.2 * max(shape) ** 0.5
            for p, move in zip(members, moves, strict=True):
                wide(p.mul_(1 - rate * DECAY)).add_(move, alpha=scale)

    def direction(self, p: nn.Parameter) -> Tensor:
        """Take the gradient into the momentum and return the way to go, wide side across."""
        self.momenta[p].lerp_(p.grad, 1 - MOMENTUM)
        return wide(torch.lerp(p.grad, self.momenta[p], MOMENTUM))


class Optimizer:
    """Muon and AdamW together."""

    def __init__(self, model: nn.Module, muon_rate: float, adam_rate: float) -> None:
        named = list(model.named_parameters())
        inner = [p for name, p in named if p.dim() > 1 and "embed" not in name]
        others = [p for name, p in named if p.dim() < 2 or "embed" in name]
        self.muon, self.rates = Muon(inner), (muon_rate, adam_rate)
        self.adam = torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.model = model

    def step(self, factor: float) -> None:
        """Update all weights with the rates times `factor`, and forget the gradients."""
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step(self.rates[0] * factor)
        self.adam.param_groups[0]["lr"] = self.rates[1] * factor
        self.adam.step()
        self.model.zero_grad()
