"""Gemma 2: norms also after attention and MLP, soft caps on scores and logits, a window on every other layer."""

import torch
from torch import Tensor, nn

from mistralrs.models import gemma, llama, qwen2
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Settings
from mistralrs.nn.mlp import GatedMLP


class Block(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        self.self_attn = self.attention(cfg, layer)
        self.mlp = GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_activation)
        self.input_layernorm = gemma.norm(cfg)
        self.post_attention_layernorm = gemma.norm(cfg)
        self.pre_feedforward_layernorm = gemma.norm(cfg)
        self.post_feedforward_layernorm = gemma.norm(cfg)

    def attention(self, cfg: Settings, layer: int) -> Attention:
        """The token mixer of this layer."""
        return llama.attention(cfg, **rule(cfg, layer))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), batch))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


def rule(cfg: Settings, layer: int) -> dict:
    """What an attention layer adds to Llama's."""
    return dict(
        bias=cfg.attention_bias,
        out_bias=cfg.attention_bias,
        scale=cfg.query_pre_attn_scalar**-0.5,
        softcap=cfg.attn_logit_softcapping,
        window=qwen2.window(cfg, layer),
    )


class Gemma2(gemma.Gemma):
    Block: type[nn.Module] = Block
    defaults = dict(
        gemma.Gemma.defaults,
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=256,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        sliding_window=4096,
        sliding_window_pattern=2,
    )

    def head(self, x: Tensor) -> Tensor:
        logits, cap = super().head(x), self.cfg.final_logit_softcapping
        return torch.tanh(logits / cap) * cap if cap else logits
