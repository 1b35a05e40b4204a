"""Phi 3.5 MoE: layer norms, biases, and two experts picked one after the other (SparseMixer, arXiv 2409.12136)."""

import torch
from torch import Tensor, nn

from mistralrs.models import llama, mixtral
from mistralrs.nn.attention import Attention
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.moe import Experts, Router
from mistralrs.nn.norm import LayerNorm


class MoE(nn.Module):
    """Two experts of every token; their weights need not add up to 1."""

    def __init__(self, cfg: Settings):
        super().__init__()
        count, dim = cfg.num_local_experts, cfg.hidden_size
        self.gate = Router(dim, count)
        self.experts = Experts(count, dim, cfg.intermediate_size, cfg.hidden_act)
        self.jitter = cfg.router_jitter_noise

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.experts(x, *sparsemixer(self.gate(x), self.jitter))


def sparsemixer(logits: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    """Router logits [T, E] -> weights and ids [T, 2]: the best expert, then the best of the others."""
    weight, expert = pick(logits, logits, jitter)
    others = logits.scatter(-1, expert, float("-inf"))
    weights, experts = zip((weight, expert), pick(others, logits, jitter), strict=True)
    return torch.cat(weights, -1), torch.cat(experts, -1)


def pick(candidates: Tensor, logits: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    """The best candidate's weight and id [T, 1]: the softmax over those that training's noise might have picked."""
    best, expert = candidates.max(-1, keepdim=True)
    behind = (best - logits) / logits.abs().clamp(min=best)
    near = candidates.masked_fill(behind > 2 * jitter, float("-inf"))
    return near.softmax(-1).gather(-1, expert), expert


class Block(llama.Block):
    """A Llama block with layer norms, a window and experts."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        bias = cfg.attention_bias
        return llama.attention(cfg, bias=bias, out_bias=bias, window=cfg.sliding_window)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return MoE(cfg)

    def norm(self, cfg: Settings) -> nn.Module:
        return LayerNorm(cfg.hidden_size, cfg.rms_norm_eps)


class Phimoe(Decoder):
    Block = Block
    defaults = dict(
        attention_bias=False,
        hidden_act="silu",
        lm_head_bias=False,
        num_local_experts=16,
        rms_norm_eps=1e-5,
        rope_theta=1e6,
        router_jitter_noise=0.01,
        sliding_window=None,
    )

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        self.lm_head = Linear(cfg.hidden_size, cfg.vocab_size, cfg.lm_head_bias)

    def norm(self, cfg: Settings) -> nn.Module:
        return LayerNorm(cfg.hidden_size, cfg.rms_norm_eps)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return mixtral.Mixtral.checkpoint(cfg, tensors)
