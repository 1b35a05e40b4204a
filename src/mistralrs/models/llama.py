"""Llama 2 and 3: the plain pre-norm decoder that many others vary."""

from typing import Any

from torch import Tensor, nn

from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.rope import Rope


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        self.self_attn = self.attention(cfg, layer)
        self.mlp = self.feed_forward(cfg, layer)
        self.input_layernorm = self.norm(cfg)
        self.post_attention_layernorm = self.norm(cfg)

    def attention(self, cfg: Settings, layer: int) -> nn.Module:
        """The token mixer of this layer."""
        return attention(cfg, bias=cfg.attention_bias, out_bias=cfg.attention_bias)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        """The channel mixer of this layer."""
        return GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act, cfg.mlp_bias)

    def norm(self, cfg: Settings) -> nn.Module:
        """The norm before each of the two."""
        return RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + self.self_attn(self.input_layernorm(x), batch)
        return x + self.mlp(self.post_attention_layernorm(x))


def attention(cfg: Settings, **rule: Any) -> Attention:
    """Attention with the sizes of a Llama-like config, and with its rope unless another is given."""
    heads, groups, dim = cfg.num_attention_heads, cfg.num_key_value_heads, cfg.head_dim
    if "rope" not in rule:
        rule["rope"] = rope(cfg)
    return Attention(cfg.hidden_size, heads, groups, dim, **rule)


def rope(cfg: Settings, layer_type: str = "default", interleaved: bool = False) -> Rope:
    """The rotary embedding of a layer type."""
    spec = cfg.rope[layer_type] | {"max_position_embeddings": cfg.max_position_embeddings}
    return Rope(int(cfg.head_dim * spec["partial_rotary_factor"]), spec, interleaved)


class Llama(Decoder):
    Block = Block
    defaults = dict(attention_bias=False, mlp_bias=False, hidden_act="silu", rms_norm_eps=1e-6)
