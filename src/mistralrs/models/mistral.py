"""Mistral: Llama whose attention looks back over a window."""

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Decoder, Settings


class Block(llama.Block):
    """A Llama block with a sliding window."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return llama.attention(cfg, window=cfg.sliding_window)


class Mistral(Decoder):
    Block = Block
    defaults = dict(llama.Llama.defaults, sliding_window=None)
