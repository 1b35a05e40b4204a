"""SmolLM 3: Llama in which every fourth layer knows no positions."""

from mistralrs.models import llama, qwen2
from mistralrs.nn.attention import Attention
from mistralrs.nn.decoder import Decoder, Settings


def rotates(cfg: Settings, layer: int) -> bool:
    """Whether a layer has rope, by the list of a config or by its interval."""
    listed = cfg.get("no_rope_layers")  # 1 where there is rope
    return bool(listed[layer]) if listed else (layer + 1) % cfg.no_rope_layer_interval != 0


class Block(llama.Block):
    """A Llama block with or without rope; some layers may have a window."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return llama.attention(
            cfg,
            rope=llama.rope(cfg) if rotates(cfg, layer) else None,
            bias=cfg.attention_bias,
            out_bias=cfg.attention_bias,
            window=qwen2.window(cfg, layer),
        )


class SmolLM3(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        no_rope_layer_interval=4,
        rope_theta=2e6,
        tie_word_embeddings=True,
        use_sliding_window=False,
    )
