"""GLM 4 (0414): norms also after attention and MLP, rope on neighbouring pairs of a part of each head."""

from torch import Tensor

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Tensors, split
from mistralrs.nn.decoder import Decoder, Settings


class Block(llama.Block):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__(cfg, layer)
        self.post_self_attn_layernorm = self.norm(cfg)
        self.post_mlp_layernorm = self.norm(cfg)

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return llama.attention(
            cfg, bias=cfg.attention_bias, rope=llama.rope(cfg, interleaved=True)
        )

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + self.post_self_attn_layernorm(self.self_attn(self.input_layernorm(x), batch))
        return x + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x)))


class Glm4(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        attention_bias=True,
        rms_norm_eps=1.5625e-7,
        partial_rotary_factor=0.5,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        width = cfg.intermediate_size
        return split(tensors, {"gate_up_proj": {"gate_proj": width, "up_proj": width}})
