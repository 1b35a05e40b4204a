"""Gemma 4, text only: wider heads with few keys in the global layers, values normed, experts beside the MLP."""

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from mistralrs.api.errors import NotSupportedError
from mistralrs.kernels.norm import rms_norm
from mistralrs.models import gemma2, qwen2
from mistralrs.nn import attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, softmax_top, stacked
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.rope import Rope


def sizes(cfg: Settings, layer: int) -> tuple[int, int]:
    """Features of a head, and how many heads of keys and values a layer has."""
    if cfg.layer_types[layer] == "sliding_attention":
        return cfg.head_dim, cfg.num_key_value_heads
    groups = cfg.get("num_global_key_value_heads") if cfg.attention_k_eq_v else None
    written = cfg.get("per_layer_config")  # by transformers
    if written is not None:
        own = written.get(str(layer))
        return own.head_dim, own.get("num_key_value_heads", cfg.num_key_value_heads)
    return cfg.global_head_dim, groups or cfg.num_key_value_heads


class Attention(attention.Attention):
    """Queries, keys and values are normed; global layers may take unnormed keys for values."""

    def __init__(self, cfg: Settings, layer: int):
        kind = cfg.layer_types[layer]
        dim, groups = sizes(cfg, layer)
        super().__init__(
            cfg.hidden_size,
            cfg.num_attention_heads,
            groups,
            dim,
            rope=Rope(dim, cfg.rope[kind]),
            bias=cfg.attention_bias,
            out_bias=cfg.attention_bias,
            qk_norm=partial(RMSNorm, eps=cfg.rms_norm_eps),
            window=qwen2.window(cfg, layer),
            scale=1.0,
        )
        self.eps, self.local = cfg.rms_norm_eps, kind == "sliding_attention"
        self.keys_are_values = cfg.attention_k_eq_v and not self.local
        if self.keys_are_values:
            del self.v_proj

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]; rows of an image see each other in local layers only."""
        assert self.rope is not None
        assert self.q_norm is not None
        assert self.k_norm is not None
        q, k = self.heads(self.q_proj(x)), self.heads(self.k_proj(x))
        v = k if self.keys_are_values else self.heads(self.v_proj(x))
        v = rms_norm(v, v.new_ones(self.head_dim), self.eps)
        q, k = self.rope(self.q_norm(q), batch), self.rope(self.k_norm(k), batch)
        seen = batch if self.local or not batch.joined else replace(batch, joined=())
        return self.o_proj(self.cache.attend(q, k, v, seen, **self.rule).flatten(1))


class Router(nn.Module):
    """Weights of experts that are scaled one by one."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, count = cfg.hidden_size, cfg.num_experts
        self.proj, self.scale, self.per_expert_scale = Linear(dim, count), empty(dim), empty(count)
        self.eps, self.k = cfg.rms_norm_eps, cfg.top_k_experts

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [T, D] -> weights and ids [T, k]."""
        x = rms_norm(x, self.scale, self.eps) * x.shape[1] ** -0.5
        weight, expert = softmax_top(self.proj(x), self.k)
        return weight * self.per_expert_scale[expert], expert


class Block(nn.Module):
    """(x + norm(attention(norm(x))), then + norm(mlp(norm(x)))) * scalar."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        act, norm = cfg.hidden_activation, partial(RMSNorm, cfg.hidden_size, cfg.rms_norm_eps)
        self.self_attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.hidden_size, cfg.intermediate_size, act)
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(), norm()
        self.layer_scalar = empty(1)
        self.mixes = bool(cfg.enable_moe_block)
        if self.mixes:
            width = cfg.moe_intermediate_size
            self.router = Router(cfg)
            self.experts = Experts(cfg.num_experts, cfg.hidden_size, width, act)
            self.post_feedforward_layernorm_1, self.post_feedforward_layernorm_2 = norm(), norm()
            self.pre_feedforward_layernorm_2 = norm()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), batch))
        y = self.mlp(self.pre_feedforward_layernorm(x))
        if self.mixes:
            mixed = self.experts(self.pre_feedforward_layernorm_2(x), *self.router(x))
            y = self.post_feedforward_layernorm_1(y) + self.post_feedforward_layernorm_2(mixed)
        return (x + self.post_feedforward_layernorm(y)) * self.layer_scalar


class Gemma4(gemma2.Gemma2):
    Block: type[nn.Module] = Block
    defaults = dict(
        gemma2.Gemma2.defaults,
        final_logit_softcapping=None,
        sliding_window_pattern=6,
        sliding_window=512,
        max_position_embeddings=131072,
        global_head_dim=512,
        attention_k_eq_v=False,
        enable_moe_block=False,
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=256,
        use_bidirectional_attention=None,
        rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=1e4),
            full_attention=dict(
                rope_type="proportional", rope_theta=1e6, partial_rotary_factor=0.25
            ),
        ),
    )

    def __init__(self, cfg: Settings):
        if cfg.hidden_size_per_layer_input or cfg.num_kv_shared_layers:
            raise NotSupportedError(
                "Gemma 4 E2B and E4B (embeddings for each layer, shared keys and values) are not available yet; "
                "26B-A4B and 31B are"
            )
        if cfg.use_bidirectional_attention == "all":
            raise NotSupportedError("Gemma 4 whose tokens all see each other is not available")
        super().__init__(cfg)

    def norm(self, cfg: Settings) -> RMSNorm:
        return RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return stacked(tensors, cfg.moe_intermediate_size) if cfg.enable_moe_block else tensors
