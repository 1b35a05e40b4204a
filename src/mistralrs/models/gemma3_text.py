"""Gemma 3, text only: Gemma 2 with q and k norms instead of caps, five local layers with a rope of their own to a
global one."""

from functools import partial

from mistralrs.models import gemma2, llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Settings
from mistralrs.nn.norm import RMSNorm


class Block(gemma2.Block):
    """A Gemma 2 block with q and k norms; the rope depends on the kind of layer."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return llama.attention(
            cfg,
            rope=llama.rope(cfg, cfg.layer_types[layer]),
            qk_norm=partial(RMSNorm, eps=cfg.rms_norm_eps, offset=1.0),
            **gemma2.rule(cfg, layer),
        )


class Gemma3(gemma2.Gemma2):
    Block = Block
    defaults = dict(
        gemma2.Gemma2.defaults,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        sliding_window_pattern=6,
        rope_theta=1e6,
        rope_local_base_freq=1e4,
        max_position_embeddings=131072,
    )
