"""Phi 1, 1.5 and 2: attention and MLP side by side behind one layer norm, biases everywhere, rope on a part of each
head."""

from functools import partial

from torch import Tensor, nn

from mistralrs.models import llama
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Tensors, rename
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.mlp import MLP
from mistralrs.nn.norm import LayerNorm


class Block(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        qk_norm = partial(LayerNorm, eps=cfg.layer_norm_eps) if cfg.qk_layernorm else None
        self.self_attn = llama.attention(cfg, bias=True, out_bias=True, qk_norm=qk_norm)
        self.mlp = MLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act)
        self.input_layernorm = LayerNorm(cfg.hidden_size, cfg.layer_norm_eps)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        normed = self.input_layernorm(x)
        return x + self.self_attn(normed, batch) + self.mlp(normed)


class Phi(Decoder):
    Block = Block
    defaults = dict(
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
        partial_rotary_factor=0.5,
        qk_layernorm=False,
    )

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        self.lm_head = Linear(cfg.hidden_size, cfg.vocab_size, bias=True)

    def norm(self, cfg: Settings) -> nn.Module:
        return LayerNorm(cfg.hidden_size, cfg.layer_norm_eps)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return rename(
            tensors,
            {
                r"\.dense\.": ".o_proj.",
                r"\.(q|k)_layernorm\.": r".\1_norm.",
                r"\.fc1\.": ".up_proj.",
                r"\.fc2\.": ".down_proj.",
                r"\.final_layernorm\.": ".norm.",
            },
        )
