"""GLM 4.5 to 4.7: grouped-query attention, partly rotated, with the experts of DeepSeek V3."""

from functools import partial

from torch import nn

from mistralrs.models import deepseek_v2, deepseek_v3, llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.moe import stacked
from mistralrs.nn.norm import RMSNorm


class Block(llama.Block):
    """A Llama block with biases, q and k norms in some models and, after the first layers, experts."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        norm = partial(RMSNorm, eps=cfg.rms_norm_eps) if cfg.use_qk_norm else None
        return llama.attention(cfg, bias=cfg.attention_bias, qk_norm=norm)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return deepseek_v2.feed_forward(cfg, layer, deepseek_v3.MoE)


class Glm4Moe(Decoder):
    Block = Block
    defaults = dict(
        deepseek_v3.DeepseekV3.defaults,
        first_k_dense_replace=1,
        n_group=1,
        partial_rotary_factor=0.5,
        rms_norm_eps=1e-5,
        topk_group=1,
        use_qk_norm=False,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return stacked(tensors, cfg.moe_intermediate_size)
