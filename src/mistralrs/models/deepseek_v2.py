"""DeepSeek V2: latent attention, and shared experts beside the routed ones."""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor, nn

from mistralrs.models import llama
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.latent import LatentAttention, split_up
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, Router, in_best_groups, stacked
from mistralrs.nn.rope import Rope


class MoE(nn.Module):
    """Routed experts, and a block as wide as `n_shared_experts` that every token visits."""

    correction = False  # whether the router has a correction bias

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, width, act = cfg.hidden_size, cfg.moe_intermediate_size, cfg.hidden_act
        self.cfg = cfg
        self.gate = Router(dim, cfg.n_routed_experts, self.correction)
        self.experts = Experts(cfg.n_routed_experts, dim, width, act)
        self.shared_experts = GatedMLP(dim, width * cfg.n_shared_experts, act)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        weight, expert = self.route(self.gate(x))
        routed = self.experts(x, weight * self.cfg.routed_scaling_factor, expert)
        return routed + self.shared_experts(x)

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Router logits [T, E] -> weights and ids [T, k]; a group is as strong as its best expert."""
        cfg, scores = self.cfg, logits.softmax(-1)
        if cfg.topk_method == "group_limited_greedy":
            strength = scores.unflatten(-1, (cfg.n_group, -1)).amax(-1)
            scores = in_best_groups(scores, strength, cfg.topk_group, 0.0)
        weight, expert = torch.topk(scores, cfg.num_experts_per_tok)
        return weight, expert


class Block(llama.Block):
    """A Llama block with latent attention and, after the first layers, experts."""

    def attention(self, cfg: Settings, layer: int) -> nn.Module:
        return attention(cfg)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return feed_forward(cfg, layer, MoE)


def attention(cfg: Settings) -> LatentAttention:
    """Latent attention with the sizes of a DeepSeek config."""
    spec = cfg.rope["default"] | {"max_position_embeddings": cfg.max_position_embeddings}
    return LatentAttention(
        cfg.hidden_size,
        cfg.num_attention_heads,
        cfg.kv_lora_rank,
        rope=Rope(cfg.qk_rope_head_dim, spec, interleaved=cfg.rope_interleave),
        nope_dim=cfg.qk_nope_head_dim,
        v_dim=cfg.v_head_dim,
        q_rank=cfg.q_lora_rank,
        bias=cfg.attention_bias,
        scale=(cfg.qk_nope_head_dim + cfg.qk_rope_head_dim) ** -0.5 * temperature(spec),
    )


def temperature(spec: dict) -> float:
    """What YaRN with `mscale_all_dim` multiplies scores with, in place of a factor on cos and sin."""
    mscale, factor = spec.get("mscale_all_dim"), spec.get("factor", 1.0)
    return (0.1 * mscale * log(factor) + 1.0) ** 2 if mscale and factor > 1 else 1.0


def feed_forward(cfg: Settings, layer: int, moe: Callable[[Settings], nn.Module]) -> nn.Module:
    """Experts, or one dense block in the first layers and between."""
    if layer >= cfg.first_k_dense_replace and layer % cfg.moe_layer_freq == 0:
        return moe(cfg)
    return GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act)


class DeepseekV2(Decoder):
    Block = Block
    defaults = dict(
        attention_bias=False,
        first_k_dense_replace=0,
        hidden_act="silu",
        moe_layer_freq=1,
        q_lora_rank=None,
        rms_norm_eps=1e-6,
        rope_interleave=True,
        routed_scaling_factor=1.0,
        topk_method="greedy",
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        tensors = stacked(tensors, cfg.moe_intermediate_size)
        return split_up(tensors, cfg.num_attention_heads, cfg.qk_nope_head_dim, cfg.v_head_dim)
