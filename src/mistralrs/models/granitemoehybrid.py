"""Granite 4: Mamba 2 layers with an attention layer now and then, a shared MLP beside experts, scaled residuals."""

import math

from torch import Tensor, nn

from mistralrs.kernels.glu import glu
from mistralrs.models import llama
from mistralrs.nn.activation import softplus
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy, rename, split
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, stacked, top_softmax
from mistralrs.nn.norm import GroupedRMSNorm, RMSNorm
from mistralrs.nn.recurrent import Conv, Recurrence

NAMES = {
    r"block_sparse_moe\.input_linear\.weight": "block_sparse_moe.experts.gate_up_proj",
    r"block_sparse_moe\.output_linear\.weight": "block_sparse_moe.experts.down_proj",
    r"block_sparse_moe\.router\.layer\.": "block_sparse_moe.router.",
    r"shared_mlp\.output_linear\.": "shared_mlp.down_proj.",
}


class Mamba(nn.Module):
    """Mamba 2 (arXiv 2405.21060): `heads` heads read and write through `groups` pairs of B and C."""

    exact = ("A_log", "D", "dt_bias")

    def __init__(self, cfg: Settings):
        super().__init__()
        self.heads, self.groups, self.size = (
            cfg.mamba_n_heads,
            cfg.mamba_n_groups,
            cfg.mamba_d_state,
        )
        self.inner = inner = cfg.mamba_expand * cfg.hidden_size
        self.mixed = inner + 2 * self.groups * self.size
        self.in_proj = Linear(cfg.hidden_size, inner + self.mixed + self.heads, cfg.mamba_proj_bias)
        self.conv1d = Conv(self.mixed, cfg.mamba_d_conv, cfg.mamba_conv_bias, "silu")
        self.A_log, self.D, self.dt_bias = empty(self.heads), empty(self.heads), empty(self.heads)
        self.scan = Recurrence(self.heads, self.size, inner // self.heads)
        self.norm = GroupedRMSNorm(inner, self.groups, cfg.rms_norm_eps)
        self.out_proj = Linear(inner, cfg.hidden_size, cfg.mamba_proj_bias)
        self.limits = cfg.get("time_step_limit", (0.0, math.inf))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        gate, mixed, dt = self.in_proj(x).split([self.inner, self.mixed, self.heads], -1)
        pairs = self.groups * self.size
        value, b, c = self.conv1d(mixed, batch).split([self.inner, pairs, pairs], -1)
        b, c = (x.unflatten(-1, (self.groups, -1)).float() for x in (b, c))
        value = value.unflatten(-1, (self.heads, -1)).float()
        dt = softplus(dt.float() + self.dt_bias).clamp(*self.limits)
        decay = (-self.A_log.float().exp() * dt).exp()
        y = self.scan(c, b, value * dt[..., None], decay, batch)
        y = (y + value * self.D[:, None]).flatten(1).to(x.dtype)
        return self.out_proj(self.norm(glu(gate, y, "silu")))


class MoE(nn.Module):
    """The sum of the best experts' outputs, weighted by a softmax over these."""

    def __init__(self, cfg: Settings):
        super().__init__()
        count, width = cfg.num_local_experts, cfg.intermediate_size
        self.router = Linear(cfg.hidden_size, count)
        self.experts = Experts(count, cfg.hidden_size, width, cfg.hidden_act)
        self.top = cfg.num_experts_per_tok

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.experts(x, *top_softmax(self.router(x), self.top))


class Block(nn.Module):
    """x + m mixer(norm(x)), then x + m (mlp(norm(x)) + moe(norm(x)))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        recurrent = cfg.layer_types[layer] in ("mamba", "linear_attention")
        self.mixer = "mamba" if recurrent else "self_attn"  # its name in checkpoints
        self.add_module(self.mixer, Mamba(cfg) if recurrent else attention(cfg))
        self.block_sparse_moe = MoE(cfg) if cfg.num_local_experts else None
        self.shared_mlp = GatedMLP(cfg.hidden_size, cfg.shared_intermediate_size, cfg.hidden_act)
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.multiplier = cfg.residual_multiplier

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + getattr(self, self.mixer)(self.input_layernorm(x), batch) * self.multiplier
        return x + self.feed_forward(self.post_attention_layernorm(x)) * self.multiplier

    def feed_forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        y = self.shared_mlp(x)
        return y if self.block_sparse_moe is None else y + self.block_sparse_moe(x)


def attention(cfg: Settings) -> Attention:
    """Llama's with its own scale; most hybrids leave the order of tokens to Mamba and have no rope."""
    return Attention(
        cfg.hidden_size,
        cfg.num_attention_heads,
        cfg.num_key_value_heads,
        cfg.head_dim,
        rope=llama.rope(cfg) if cfg.position_embedding_type == "rope" else None,
        bias=cfg.attention_bias,
        out_bias=cfg.attention_bias,
        scale=cfg.attention_multiplier,
    )


class GraniteMoeHybrid(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        position_embedding_type=None,
        num_local_experts=8,
        num_experts_per_tok=2,
        shared_intermediate_size=1024,
        embedding_multiplier=1.0,
        residual_multiplier=1.0,
        attention_multiplier=1.0,
        logits_scaling=1.0,
        mamba_n_heads=128,
        mamba_n_groups=1,
        mamba_d_state=256,
        mamba_d_conv=4,
        mamba_expand=2,
        mamba_conv_bias=True,
        mamba_proj_bias=False,
    )

    def embed(self, batch: Batch) -> Tensor:
        return super().embed(batch) * self.cfg.embedding_multiplier

    def head(self, x: Tensor) -> Tensor:
        return super().head(x) / self.cfg.logits_scaling

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        half = cfg.shared_intermediate_size
        fused = {
            "shared_mlp.input_linear": {"shared_mlp.gate_proj": half, "shared_mlp.up_proj": half}
        }
        return stacked(split(rename(tensors, NAMES), fused), cfg.intermediate_size)
