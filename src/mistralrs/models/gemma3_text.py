"""Gemma 3: norms around each sublayer, q and k norms; five layers of six have a window and a rope of their own."""

from functools import partial

from torch import Tensor, nn

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm


def norm(dim: int, cfg: Settings) -> RMSNorm:
    """A norm whose checkpoint stores weight - 1."""
    return RMSNorm(dim, cfg.rms_norm_eps, offset=1.0)


class Block(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        self.self_attn = self.attention(cfg, layer)
        self.mlp = GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_activation)
        self.input_layernorm = norm(cfg.hidden_size, cfg)
        self.post_attention_layernorm = norm(cfg.hidden_size, cfg)
        self.pre_feedforward_layernorm = norm(cfg.hidden_size, cfg)
        self.post_feedforward_layernorm = norm(cfg.hidden_size, cfg)

    def attention(self, cfg: Settings, layer: int) -> Attention:
        """The attention of this layer."""
        kind = cfg.layer_types[layer]
        return Attention(
            cfg.hidden_size,
            cfg.num_attention_heads,
            cfg.num_key_value_heads,
            cfg.head_dim,
            rope=llama.rope(cfg, kind),
            bias=cfg.attention_bias,
            out_bias=cfg.attention_bias,
            qk_norm=partial(norm, cfg=cfg),
            window=cfg.sliding_window if kind == "sliding_attention" else None,
            scale=cfg.query_pre_attn_scalar**-0.5,
        )

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        mixed = self.self_attn(self.input_layernorm(x), batch)
        x = x + self.post_attention_layernorm(mixed)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Gemma3(Decoder):
    Block = Block
    defaults = dict(
        attention_bias=False,
        head_dim=256,
        hidden_activation="gelu_pytorch_tanh",
        num_attention_heads=8,
        num_key_value_heads=4,
        query_pre_attn_scalar=256,
        rms_norm_eps=1e-6,
        rope_local_base_freq=10000.0,
        rope_theta=1e6,
        sliding_window=4096,
        sliding_window_pattern=6,
        tie_word_embeddings=True,
        vocab_size=262208,
        max_position_embeddings=131072,
    )

    def norm(self, cfg: Settings) -> RMSNorm:
        return norm(cfg.hidden_size, cfg)

    def embed(self, batch: Batch) -> Tensor:
        return super().embed(batch) * self.cfg.hidden_size**0.5
