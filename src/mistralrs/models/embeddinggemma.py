"""EmbeddingGemma: Gemma 3 whose tokens see those after them too."""

from mistralrs.models import gemma3_text
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Settings


class Block(gemma3_text.Block):
    """A Gemma 3 block that looks both ways; `sliding_window` counts both sides together."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        attention = super().attention(cfg, layer)
        if cfg.get("use_bidirectional_attention"):
            window = attention.rule["window"]
            attention.rule |= dict(causal=False, window=window and window // 2 + 1)
        return attention


class EmbeddingGemma(gemma3_text.Gemma3):
    Block = Block
