"""Gemma 4, text only: wide heads in global layers, values normed, experts; E2B and E4B: words for each layer."""

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from mistralrs.api.errors import NotSupportedError
from mistralrs.kernels.glu import glu
from mistralrs.kernels.norm import rms_norm
from mistralrs.models import gemma2, qwen2
from mistralrs.nn import attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy, drop
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Embedding, Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import Experts, softmax_top, stacked
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.rope import Rope

WORDS = "words of each layer"  # in `Batch.memo`


def sizes(cfg: Settings, layer: int) -> tuple[int, int]:
    """Features of a head, and how many heads of keys and values a layer has."""
    if cfg.layer_types[layer] == "sliding_attention":
        return cfg.head_dim, cfg.num_key_value_heads
    groups = cfg.get("num_global_key_value_heads") if cfg.attention_k_eq_v else None
    written = cfg.get("per_layer_config")  # by transformers
    if written is not None:
        own = written.get(str(layer))
        return own.head_dim, own.get("num_key_value_heads", cfg.num_key_value_heads)
    return cfg.global_head_dim or cfg.head_dim, groups or cfg.num_key_value_heads


def writer(cfg: Settings, layer: int) -> int:
    """The layer whose keys and values a layer sees: its own, or the last ones of its kind that were written."""
    first = cfg.num_hidden_layers - cfg.num_kv_shared_layers
    if layer < first:
        return layer
    return max(i for i in range(first) if cfg.layer_types[i] == cfg.layer_types[layer])


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
            writes=writer(cfg, layer) == layer,
        )
        self.eps, self.local = cfg.rms_norm_eps, kind == "sliding_attention"
        self.keys_are_values = cfg.attention_k_eq_v and not self.local
        if self.keys_are_values:
            del self.v_proj

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]; rows of an image see each other in local layers only."""
        assert self.rope is not None
        assert self.q_norm is not None
        q = self.rope(self.q_norm(self.heads(self.q_proj(x))), batch)
        k, v = self.written(x, batch)
        seen = batch if self.local or not batch.joined else replace(batch, joined=())
        return self.o_proj(self.cache.attend(q, k, v, seen, **self.rule).flatten(1))

    def written(self, x: Tensor, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Keys and values [T, KV, d] of x [T, D]; None where an earlier layer's are used."""
        if not self.writes or self.k_norm is None or self.rope is None:
            return None, None
        k = self.heads(self.k_proj(x))
        v = k if self.keys_are_values else self.heads(self.v_proj(x))
        v = rms_norm(v, v.new_ones(self.head_dim), self.eps)
        return self.rope(self.k_norm(k), batch), v


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
        double = cfg.use_double_wide_mlp and writer(cfg, layer) != layer
        self.mlp = GatedMLP(cfg.hidden_size, cfg.intermediate_size * (1 + double), act)
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
        self.layer, self.act, self.second = layer, act, cfg.hidden_size_per_layer_input
        if self.second:
            self.per_layer_input_gate = Linear(cfg.hidden_size, self.second)
            self.per_layer_projection = Linear(self.second, cfg.hidden_size)
            self.post_per_layer_input_norm = norm()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), batch))
        y = self.mlp(self.pre_feedforward_layernorm(x))
        if self.mixes:
            mixed = self.experts(self.pre_feedforward_layernorm_2(x), *self.router(x))
            y = self.post_feedforward_layernorm_1(y) + self.post_feedforward_layernorm_2(mixed)
        x = x + self.post_feedforward_layernorm(y)
        if self.second:
            x = x + spoken(self, x, batch)
        return x * self.layer_scalar


def spoken(block: Any, x: Tensor, batch: Batch) -> Tensor:
    """What a block adds to x [T, D] of the words that its layer has of its own."""
    gated = glu(block.per_layer_input_gate(x), batch.memo[WORDS][block.layer], block.act)
    return block.post_per_layer_input_norm(block.per_layer_projection(gated))


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
        use_double_wide_mlp=False,
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
        if cfg.use_bidirectional_attention == "all":
            raise NotSupportedError("Gemma 4 whose tokens all see each other is not available")
        super().__init__(cfg)
        layers, width = self.model.layers, cfg.hidden_size_per_layer_input
        for layer, block in enumerate(layers):
            block.self_attn.cache = layers[writer(cfg, layer)].self_attn.cache  # type: ignore[union-attr]
        if width:
            total = len(layers) * width
            rows = cfg.get("vocab_size_per_layer_input", cfg.vocab_size)
            self.model.embed_tokens_per_layer = Embedding(rows, total)
            self.model.per_layer_model_projection = Linear(cfg.hidden_size, total)
            self.model.per_layer_projection_norm = RMSNorm(width, cfg.rms_norm_eps)

    def norm(self, cfg: Settings) -> RMSNorm:
        return RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def inputs(self, batch: Batch) -> Tensor:
        x = super().inputs(batch)
        if self.cfg.hidden_size_per_layer_input:
            batch.memo[WORDS] = self.words(x, batch)
        return x

    def words(self, x: Tensor, batch: Batch) -> Tensor:
        """What each layer hears of the tokens beside x [T, D]: [layers, T, W]."""
        model: Any = self.model
        width, ids = self.cfg.hidden_size_per_layer_input, batch.tokens
        for rows, _ in batch.media:
            ids = ids.index_fill(0, rows, self.blank)
        table = model.embed_tokens_per_layer
        own = table(ids.where(ids < table.weight.shape[0], 0), self.dtype) * width**0.5
        seen = model.per_layer_model_projection(x) * x.shape[1] ** -0.5
        seen = model.per_layer_projection_norm(seen.unflatten(1, (-1, width)))
        both = (seen + own.unflatten(1, (-1, width))) * 2**-0.5
        return both.transpose(0, 1).contiguous()

    @property
    def blank(self) -> int:
        """The row of the second table that rows of media get."""
        return self.cfg.get("pad_token_id", 0)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        if cfg.enable_moe_block:
            tensors = stacked(tensors, cfg.moe_intermediate_size)
        sharing = [i for i in range(cfg.num_hidden_layers) if writer(cfg, i) != i]
        return drop(tensors, *(rf"layers\.{i}\.self_attn\.[kv]_" for i in sharing))
