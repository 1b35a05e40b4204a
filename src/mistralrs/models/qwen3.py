"""Qwen 3: Llama that normalizes every head of queries and keys."""

from functools import partial

from mistralrs.models import llama, qwen2
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.norm import RMSNorm


def attention(cfg: Settings, window: int | None) -> Attention:
    """Llama's attention with q and k norms."""
    norm = partial(RMSNorm, eps=cfg.rms_norm_eps)
    bias = cfg.attention_bias
    return llama.attention(cfg, bias=bias, out_bias=bias, qk_norm=norm, window=window)


class Block(llama.Block):
    """A Llama block with q and k norms; some layers may have a window."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return attention(cfg, qwen2.window(cfg, layer))


class Qwen3(Decoder):
    Block = Block
    defaults = dict(llama.Llama.defaults, sliding_window=None, use_sliding_window=False)
