"""Llama 4, text only: most layers see chunks of the sequence; the others see all of it, without positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mistralrs.kernels.norm import rms_norm
from mistralrs.models import llama, smollm3
from mistralrs.nn import attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Tensors, rename, split
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, Router


class UnitNorm(nn.Module):
    """x / rms(x)."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return rms_norm(x, x.new_ones(x.shape[-1]), self.eps)


class Global(attention.Attention):
    """Attention without positions, whose queries grow with the length of what they see (arXiv 2501.19399)."""

    def __init__(self, cfg: Settings):
        heads, groups, bias = cfg.num_attention_heads, cfg.num_key_value_heads, cfg.attention_bias
        super().__init__(
            cfg.hidden_size, heads, groups, cfg.head_dim, rope=None, bias=bias, out_bias=bias
        )
        self.floor, self.strength = cfg.floor_scale, cfg.attn_scale

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        q, k, v = (self.heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        steps = ((batch.positions + 1) // self.floor).double()  # exact for any number of rows
        grown = steps.log1p() * self.strength + 1
        q = q * grown[:, None, None].to(q.dtype)
        return self.o_proj(self.cache.attend(q, k, v, batch, **self.rule).flatten(1))


class MoE(nn.Module):
    """A shared expert, and the best ones of many: their inputs, not their outputs, are weighted."""

    def __init__(self, cfg: Settings):
        super().__init__()
        count, dim, width = cfg.num_local_experts, cfg.hidden_size, cfg.intermediate_size
        self.router, self.top = Router(dim, count), cfg.num_experts_per_tok
        self.experts = Experts(count, dim, width, cfg.hidden_act)
        self.shared_expert = GatedMLP(dim, width, cfg.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        score, expert = self.router(x).topk(self.top)
        weight = score.double().sigmoid().to(x.dtype)  # in float32 it depends on the number of rows
        out, one = self.shared_expert(x), torch.ones_like(score[:, :1])
        for share, ids in zip(weight.split(1, 1), expert.split(1, 1), strict=True):
            out = out + self.experts(x * share, one, ids)
        return out


class Block(llama.Block):
    """A Llama block with experts, in some models in every other layer."""

    def attention(self, cfg: Settings, layer: int) -> nn.Module:
        if not smollm3.rotates(cfg, layer):
            tuned, bias = cfg.attn_temperature_tuning, cfg.attention_bias
            return (
                Global(cfg) if tuned else llama.attention(cfg, rope=None, bias=bias, out_bias=bias)
            )
        return llama.attention(  # rotations keep lengths, so the norm may come before them
            cfg,
            rope=llama.rope(cfg, interleaved=True),
            qk_norm=(lambda dim: UnitNorm(cfg.rms_norm_eps)) if cfg.use_qk_norm else None,
            chunk=cfg.attention_chunk_size,
            bias=cfg.attention_bias,
            out_bias=cfg.attention_bias,
        )

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        sparse, step = cfg.get("moe_layers"), cfg.interleave_moe_layer_step
        if layer in sparse if sparse is not None else (layer + 1) % step == 0:
            return MoE(cfg)
        return GatedMLP(cfg.hidden_size, cfg.intermediate_size_mlp, cfg.hidden_act)


class Llama4(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        attention_chunk_size=8192,
        attn_scale=0.1,
        attn_temperature_tuning=True,
        floor_scale=8192,
        head_dim=128,
        interleave_moe_layer_step=1,
        intermediate_size_mlp=16384,
        no_rope_layer_interval=4,
        num_experts_per_tok=1,
        num_local_experts=16,
        rms_norm_eps=1e-5,
        rope_theta=5e5,
        use_qk_norm=True,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        halves = dict.fromkeys(("experts.gate_proj", "experts.up_proj"), cfg.intermediate_size)
        named = rename(tensors, {r"\.feed_forward\.": ".mlp."})
        named = split(named, {"experts.gate_up_proj": halves}, dim=2)
        return {  # stacks are [E, K, N]
            name: lazy.transpose(1, 2).map(Tensor.contiguous) if ".experts." in name else lazy
            for name, lazy in named.items()
        }
