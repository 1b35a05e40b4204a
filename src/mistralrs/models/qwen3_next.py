"""Qwen 3 Next: three gated delta nets for every gated attention, and a shared expert beside the routed ones."""

from functools import partial

import torch
from torch import Tensor, nn

from mistralrs.kernels.glu import glu
from mistralrs.models import llama
from mistralrs.nn.activation import sigmoid, softplus
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, softmax_top, stacked
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.recurrent import Conv, Recurrence

Norm = partial(RMSNorm, offset=1.0)


class GatedAttention(Attention):
    """Attention whose `q_proj` also gives each head a sigmoid gate for its output."""

    def __init__(self, cfg: Settings):
        heads, groups, dim = cfg.num_attention_heads, cfg.num_key_value_heads, cfg.head_dim
        bias, norm = cfg.attention_bias, partial(Norm, eps=cfg.rms_norm_eps)
        rule = dict(rope=llama.rope(cfg), bias=bias, out_bias=bias, qk_norm=norm)
        super().__init__(cfg.hidden_size, heads, groups, dim, **rule)
        self.q_proj = Linear(cfg.hidden_size, 2 * heads * dim, bias)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        assert self.rope is not None
        assert self.q_norm is not None
        assert self.k_norm is not None
        q, gate = self.q_proj(x).unflatten(-1, (-1, 2 * self.head_dim)).chunk(2, -1)
        k, v = self.heads(self.k_proj(x)), self.heads(self.v_proj(x))
        q, k = self.rope(self.q_norm(q), batch), self.rope(self.k_norm(k), batch)
        out = self.cache.attend(q, k, v, batch, **self.rule)
        return self.o_proj((out * sigmoid(gate)).flatten(1))


class GatedDeltaNet(nn.Module):
    """Linear attention (arXiv 2412.06464): every key head serves several value heads, each with its own decay."""

    exact = ("A_log", "dt_bias")

    def __init__(self, cfg: Settings):
        super().__init__()
        self.groups, self.heads = cfg.linear_num_key_heads, cfg.linear_num_value_heads
        self.k_dim, self.v_dim = cfg.linear_key_head_dim, cfg.linear_value_head_dim
        self.key, self.value = self.groups * self.k_dim, self.heads * self.v_dim
        self.in_proj_qkvz = Linear(cfg.hidden_size, 2 * self.key + 2 * self.value)
        self.in_proj_ba = Linear(cfg.hidden_size, 2 * self.heads)
        self.conv1d = Conv(2 * self.key + self.value, cfg.linear_conv_kernel_dim, act="silu")
        self.A_log, self.dt_bias = empty(self.heads), empty(self.heads)
        self.scan = Recurrence(self.heads, self.k_dim, self.v_dim)
        self.norm = RMSNorm(self.v_dim, cfg.rms_norm_eps)
        self.out_proj = Linear(self.value, cfg.hidden_size)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        q, k, v, z, b, a = self.project(x)
        mixed = self.conv1d(torch.cat([q, k, v], -1), batch)
        q, k, v = mixed.split([self.key, self.key, self.value], -1)
        decay = (-self.A_log.float().exp() * softplus(a.float() + self.dt_bias)).exp()
        q, k = self.unit(q) * self.k_dim**-0.5, self.unit(k)
        v = v.unflatten(-1, (self.heads, -1))
        out = self.norm(self.scan(q, k, v, decay, batch, sigmoid(b.float())))
        return self.out_proj(glu(z, out.flatten(1), "silu"))

    def project(self, x: Tensor) -> list[Tensor]:
        """x [T, D] -> q, k, v, z, b, a [T, ...]; a row of the matrices belongs to one key head."""
        each = self.heads // self.groups
        sizes = [self.k_dim, self.k_dim, each * self.v_dim, each * self.v_dim]
        wide = self.in_proj_qkvz(x).unflatten(-1, (self.groups, -1)).split(sizes, -1)
        narrow = self.in_proj_ba(x).unflatten(-1, (self.groups, -1)).split(each, -1)
        return [part.flatten(1) for part in (*wide, *narrow)]

    def unit(self, x: Tensor) -> Tensor:
        """x [T, G * K] -> float32 unit vectors [T, G, K]."""
        x = x.float().unflatten(-1, (self.groups, -1))
        return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


class MoE(nn.Module):
    """The best experts, and one that sees every token through a sigmoid gate."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, act = cfg.hidden_size, cfg.hidden_act
        self.gate = Linear(dim, cfg.num_experts)
        self.experts = Experts(cfg.num_experts, dim, cfg.moe_intermediate_size, act)
        self.shared_expert = GatedMLP(dim, cfg.shared_expert_intermediate_size, act)
        self.shared_expert_gate = Linear(dim, 1)
        self.rule = cfg.num_experts_per_tok, cfg.norm_topk_prob

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        routed = self.experts(x, *softmax_top(self.gate(x), *self.rule))
        return routed + sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    Delta: type[GatedDeltaNet] = GatedDeltaNet

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        linear = cfg.layer_types[layer] == "linear_attention"
        self.mixer = "linear_attn" if linear else "self_attn"  # its name in checkpoints
        self.add_module(self.mixer, type(self).Delta(cfg) if linear else GatedAttention(cfg))
        self.mlp = feed_forward(cfg, layer)
        self.input_layernorm = Norm(cfg.hidden_size, cfg.rms_norm_eps)
        self.post_attention_layernorm = Norm(cfg.hidden_size, cfg.rms_norm_eps)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + getattr(self, self.mixer)(self.input_layernorm(x), batch)
        return x + self.mlp(self.post_attention_layernorm(x))


def feed_forward(cfg: Settings, layer: int) -> nn.Module:
    """Experts in every `decoder_sparse_step`-th layer but `mlp_only_layers`."""
    dense = layer in cfg.get("mlp_only_layers", ()) or (layer + 1) % cfg.decoder_sparse_step
    if dense or not cfg.num_experts:
        return GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act)
    return MoE(cfg)


class Qwen3Next(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        full_attention_interval=4,
        partial_rotary_factor=0.25,
        decoder_sparse_step=1,
        norm_topk_prob=True,
    )

    def norm(self, cfg: Settings) -> RMSNorm:
        return Norm(cfg.hidden_size, cfg.rms_norm_eps)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return stacked(tensors, cfg.moe_intermediate_size)
