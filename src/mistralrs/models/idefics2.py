"""Idefics 2: pictures near their own size, of which learned rows take what they want to know (a perceiver)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.models import idefics3, llava_next
from mistralrs.models.mistral3 import FeedForward
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import TRANSFORMER, attend, flatten_kernels

NAMES = {
    r"^model\.connector\.modality_projection\.": "encoder.projector.",
    r"^model\.connector\.perceiver_resampler\.": "encoder.perceiver.",
}
AROUND = "<fake_token_around_image>"


class Processor:
    """Edges within limits; where a checkpoint asks for it, the four quarters before the whole."""

    joined = False
    placeholder = "<image>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.BILINEAR})
        size = files.get("size") or {}
        self.least, self.most = size.get("shortest_edge", 378), size.get("longest_edge", 980)
        self.splits, self.patch = (
            files.get("do_image_splitting", False),
            cfg.vision_config.patch_size,
        )
        self.rows = cfg.perceiver_config.resampler_n_latents

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        views = [*(quarters(picture) if self.splits else ()), picture]
        inputs = {f"view{i}": self.pixels(view)[None] for i, view in enumerate(views)}
        return Prepared(inputs, len(views) * self.rows)

    def pixels(self, view: image.Picture) -> Tensor:
        """Float32 [3, H, W], without what is left of a patch at the borders."""
        view = self.look.resize(view, self.size(view.size))
        width, height = (side // self.patch * self.patch for side in view.size)
        return self.look.pixels(view.crop((0, 0, width, height)))

    def size(self, size: image.Size) -> image.Size:
        """The longer edge at most so long, then both at least so long."""
        width, height = size
        ratio = width / height
        if width >= height and width > self.most:
            width, height = self.most, int(self.most / ratio)
        elif height > width and height > self.most:
            width, height = int(self.most * ratio), self.most
        return max(width, self.least), max(height, self.least)

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"{AROUND}{self.placeholder * self.rows}" * len(prepared.inputs) + AROUND

    def tidy(self, text: str) -> str:
        """One token between pictures that follow each other, a space before a word that does."""
        return re.sub(rf"{AROUND}(?=[^\s<])", f"{AROUND} ", text.replace(AROUND * 2, AROUND))


def quarters(picture: image.Picture) -> list[image.Picture]:
    """Four equal parts, line by line."""
    (w, h), x, y = picture.size, picture.width // 2, picture.height // 2
    return [picture.crop(box) for box in ((0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h))]


class Attention(nn.Module):
    """Latents see the picture and each other."""

    def __init__(self, dim: int, cfg: Settings):
        super().__init__()
        heads, groups, self.head_dim = (
            cfg.resampler_n_heads,
            cfg.num_key_value_heads,
            cfg.resampler_head_dim,
        )
        self.q_proj = Linear(dim, heads * self.head_dim)
        self.k_proj, self.v_proj = (Linear(dim, groups * self.head_dim) for _ in range(2))
        self.o_proj, self.share = Linear(heads * self.head_dim, dim), heads // groups

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """latents [L, D], context [P, D] -> [L, D]."""
        q, both = self.q_proj(latents), torch.cat((context, latents))
        q, k, v = (
            x.unflatten(1, (-1, self.head_dim)) for x in (q, self.k_proj(both), self.v_proj(both))
        )
        k, v = (x.repeat_interleave(self.share, 1) for x in (k, v))
        return self.o_proj(attend(q, k, v))


class Layer(nn.Module):
    """latents + attention(norms), then latents + mlp(norm)."""

    def __init__(self, dim: int, cfg: Settings, eps: float):
        super().__init__()
        self.input_latents_norm, self.input_context_norm = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.self_attn = Attention(dim, cfg)
        self.post_attention_layernorm = RMSNorm(dim, eps)
        self.mlp = FeedForward(dim, 4 * dim, cfg.hidden_act)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """latents [L, D], context [P, D] -> [L, D]."""
        seen = self.input_latents_norm(latents), self.input_context_norm(context)
        latents = latents + self.self_attn(*seen)
        return latents + self.mlp(self.post_attention_layernorm(latents))


class Perceiver(nn.Module):
    """Rows of a picture of any size -> a fixed number of rows (arXiv 2103.03206)."""

    def __init__(self, cfg: Settings, text: Settings):
        super().__init__()
        dim = text.hidden_size
        eps = cfg.rms_norm_eps if cfg.hidden_size == dim else text.rms_norm_eps  # as transformers
        self.latents = empty(cfg.resampler_n_latents, dim)
        self.layers = nn.ModuleList(Layer(dim, cfg, eps) for _ in range(cfg.resampler_depth))
        self.norm = RMSNorm(dim, eps)

    def forward(self, context: Tensor) -> Tensor:
        """context [P, D] -> [L, D]."""
        x: Tensor = self.latents
        for layer in self.layers:
            x = layer(x, context)
        return self.norm(x)


class Projector(FeedForward):
    """A gated MLP from the tower's width to the text model's."""

    def __init__(self, cfg: Settings):
        text, width = cfg.text, cfg.vision_config.hidden_size
        super().__init__(width, text.intermediate_size, text.hidden_act)
        self.down_proj = Linear(text.intermediate_size, text.hidden_size)


class Idefics2(Encoder):
    defaults = dict(
        vision_config=dict(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
            image_size=224, patch_size=32, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
        perceiver_config=dict(
            hidden_act="silu", hidden_size=4096, rms_norm_eps=1e-6, resampler_n_latents=64, resampler_depth=3,
            resampler_n_heads=16, resampler_head_dim=96, num_key_value_heads=4,
        ),
    )  # fmt: skip
    text_defaults = {
        "mistral": dict(
            llava_next.LlavaNext.text_defaults["mistral"], hidden_act="silu", rms_norm_eps=1e-6
        )
    }

    def __init__(self, cfg: Settings):
        super().__init__()
        vision = cfg.vision_config
        self.tower = idefics3.Tower(vision, clip=False, layers=vision.num_hidden_layers, post=True)
        self.projector = Projector(cfg)
        self.perceiver = Perceiver(cfg.perceiver_config, cfg.text)

    def forward(self, media: Media) -> Tensor:
        views = [self.tower(pixels)[0].flatten(0, 1) for pixels in media.inputs.values()]
        return torch.cat([self.perceiver(self.projector(view)) for view in views])

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, idefics3.NAMES | NAMES | TRANSFORMER)
        named = drop(named, r"tower\.head\.", "position_ids")
        return flatten_kernels(named, "patch_embedding.weight")
