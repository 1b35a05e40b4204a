"""Qwen 2 and 2.5: Llama with biased queries, keys and values."""

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Decoder, Settings


def window(cfg: Settings, layer: int) -> int | None:
    """The window of a layer, if it has one."""
    return cfg.sliding_window if cfg.layer_types[layer] == "sliding_attention" else None


class Block(llama.Block):
    """A Llama block with q, k, v biases; some layers may have a window."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return llama.attention(cfg, bias=True, window=window(cfg, layer))


class Qwen2(Decoder):
    Block = Block
    defaults = dict(llama.Llama.defaults, sliding_window=None, use_sliding_window=False)
