"""Llama 3.2 Vision's text model: a Llama 3 with layers between that see images and not the text."""

import torch
from torch import Tensor, nn

from mistralrs.models import llama
from mistralrs.nn.attention import CrossAttention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Embedding, empty
from mistralrs.nn.media import Media
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm

EXTRA = 8  # rows of the embedding behind the vocabulary: no token there can be generated


class Crossing(nn.Module):
    """x + gate * attention(norm(x)), then x + gate * mlp(norm(x)), where tokens see an image; elsewhere x.

    That is how Meta trained it. In transformers the attention of tokens before the first image is not left out,
    and sees all images of the prompt.
    """

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        dim, heads, groups = cfg.hidden_size, cfg.num_attention_heads, cfg.num_key_value_heads
        self.cross_attn = CrossAttention(
            dim,
            heads,
            groups,
            cfg.head_dim,
            layer=layer,
            qk_norm=lambda dim: RMSNorm(dim, cfg.rms_norm_eps),
        )
        self.mlp = GatedMLP(dim, cfg.intermediate_size, cfg.hidden_act)
        self.input_layernorm, self.post_attention_layernorm = (
            RMSNorm(dim, cfg.rms_norm_eps) for _ in range(2)
        )
        self.cross_attn_attn_gate, self.cross_attn_mlp_gate = empty(1), empty(1)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        if not batch.sights:
            return x
        rows = seeing(batch)
        y = x[rows]
        y = y + self.cross_attn_attn_gate * self.cross_attn(self.input_layernorm(y), batch)
        y = y + self.cross_attn_mlp_gate * self.mlp(self.post_attention_layernorm(y))
        return x.index_copy(0, rows, y)


def seeing(batch: Batch) -> Tensor:
    """The rows [n] of a batch that see something beside the text."""
    if "seeing" not in batch.memo:
        device = batch.tokens.device
        spans = [torch.arange(s.first, s.end, device=device) for s in batch.sights]
        batch.memo["seeing"] = torch.cat(spans)
    return batch.memo["seeing"]


class Mllama(llama.Llama):
    defaults = dict(
        llama.Llama.defaults,
        cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38],
        rms_norm_eps=1e-5,
        rope_theta=5e5,
    )

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        self.model.embed_tokens = Embedding(cfg.vocab_size + EXTRA, cfg.hidden_size)
        for number, layer in enumerate(sorted(cfg.cross_attention_layers)):
            self.model.layers[layer] = Crossing(cfg, number)

    def encode(self, media: Media) -> Tensor:
        """Keys and values [tiles, L, 2, KV, patches, d] of an image in the layers that see it."""
        x = super().encode(media)
        layers = [layer for layer in self.model.layers if isinstance(layer, Crossing)]
        return torch.stack([layer.cross_attn.show(x) for layer in layers], 1)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return opened(tensors, "_gate")


def opened(tensors: Tensors, *ends: str) -> Tensors:
    """Gates as the factors that they stand for."""
    return {
        name: lazy.map(lambda gate: gate.float().tanh(), dtype=torch.float32)
        if name.endswith(ends)
        else lazy
        for name, lazy in tensors.items()
    }
