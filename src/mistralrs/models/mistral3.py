"""Mistral Small 3.1: pictures of any size by Pixtral's tower, four patches to a row, a token after each line."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.kernels.rope import rope
from mistralrs.models.llava import NAMES, Projector
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import ACTS, attend, flatten_kernels, patches


class Processor:
    """At most so large, in whole squares of patches."""

    joined = False
    placeholder = "[IMG]"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **image.CLIP)
        self.edge = image.edge(files.get("size", 1540), "longest_edge")
        self.square = cfg.vision_config.patch_size * cfg.spatial_merge_size

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        shrink = max(1.0, max(picture.size) / self.edge)
        columns, lines = (
            (max(math.floor(side / shrink), 1) - 1) // self.square + 1 for side in picture.size
        )
        size = columns * self.square, lines * self.square
        pixels = self.look.pixels(self.look.resize(picture, size))
        return Prepared({"pixels": pixels[None]}, lines * columns, (lines, columns))

    def expand(self, prepared: Prepared, index: int) -> str:
        lines, columns = prepared.grid
        return "[IMG_BREAK]".join([self.placeholder * columns] * lines) + "[IMG_END]"


class Attention(nn.Module):
    """Patches turned by their line and column see each other."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """x [P, D], turn cos and sin [P, d / 2] -> [P, D]."""
        q, k, v = (
            p(x).unflatten(1, (self.heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(attend(rope(q, *turn), rope(k, *turn), v))


class FeedForward(nn.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, dim: int, width: int, act: str):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(dim, width), Linear(dim, width)
        self.down_proj, self.act = Linear(width, dim), ACTS[act]

    def forward(self, x: Tensor) -> Tensor:
        """x [P, D] -> [P, D]."""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.attention_norm, self.ffn_norm = RMSNorm(dim, 1e-5), RMSNorm(dim, 1e-5)
        self.attention = Attention(dim, cfg.num_attention_heads)
        self.feed_forward = FeedForward(dim, cfg.intermediate_size, cfg.hidden_act)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """x [P, D] -> [P, D]."""
        x = x + self.attention(self.attention_norm(x), turn)
        return x + self.feed_forward(self.ffn_norm(x))


def turns(lines: int, columns: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin [P, dim / 2]: every other frequency for lines, the others for columns."""
    freq = 1.0 / theta ** (torch.arange(0, dim, 2).float() / dim)
    y, x = torch.meshgrid(torch.arange(lines), torch.arange(columns), indexing="ij")
    angle = torch.cat((y.reshape(-1, 1) * freq[0::2], x.reshape(-1, 1) * freq[1::2]), 1)
    return angle.cos(), angle.sin()


class Pixtral(nn.Module):
    """The vision tower."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.size = cfg.hidden_size, cfg.patch_size
        self.head_dim = dim // cfg.num_attention_heads
        self.theta = cfg.rope["default"]["rope_theta"]
        self.patch_conv = Linear(cfg.num_channels * self.size**2, dim)
        self.ln_pre = RMSNorm(dim, 1e-5)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [1, C, H, W] -> [P, D]."""
        lines, columns = (side // self.size for side in pixels.shape[2:])
        cos, sin = turns(lines, columns, self.head_dim, self.theta)
        turn = cos.to(pixels.device), sin.to(pixels.device)
        x = self.ln_pre(self.patch_conv(patches(pixels, self.size)))
        for block in self.layers:
            x = block(x, turn)
        return x


class Merger(Projector):
    """A norm, a matrix that makes one row of a square of patches, and LLaVA's projector."""

    def __init__(self, cfg: Settings):
        dim = cfg.vision_config.hidden_size
        super().__init__(cfg, dim)
        self.norm, self.merge = RMSNorm(dim, cfg.text.rms_norm_eps), cfg.spatial_merge_size
        self.merging = Linear(dim * self.merge**2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [lines, columns, V] -> [rows, D]."""
        lines, columns, dim = x.shape
        m = self.merge
        x = self.norm(x).view(lines // m, m, columns // m, m, dim).permute(0, 2, 4, 1, 3)
        return super().forward(self.merging(x.flatten(2).flatten(0, 1)))


class Mistral3(Encoder):
    defaults = dict(
        projector_hidden_act="gelu",
        multimodal_projector_bias=False,
        spatial_merge_size=2,
        vision_config=dict(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, num_channels=3,
            image_size=1540, patch_size=14, hidden_act="gelu",
        ),
    )  # fmt: skip
    text_defaults = {
        "mistral": dict(
            hidden_size=5120, intermediate_size=32768, num_hidden_layers=40, num_attention_heads=32,
            num_key_value_heads=8, head_dim=128, vocab_size=131072, sliding_window=None, rope_theta=1e9,
            max_position_embeddings=131072, rms_norm_eps=1e-5,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        self.tower, self.projector = Pixtral(cfg.vision_config), Merger(cfg)

    def forward(self, media: Media) -> Tensor:
        pixels = media.inputs["pixels"]
        lines = pixels.shape[2] // self.tower.size
        return self.projector(self.tower(pixels).unflatten(0, (lines, -1)))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        own = {
            r"^encoder\.tower\.transformer\.": "encoder.tower.",
            r"projector\.patch_merger\.merging_layer\.": "projector.merging.",
        }
        return flatten_kernels(rename(tensors, NAMES | own), "patch_conv.weight")
