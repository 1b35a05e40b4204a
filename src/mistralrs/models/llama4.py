"""Llama 4: tiles of a picture on the canvas that fits it best, and the whole of it; four patches to a row."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.kernels.rope import rope
from mistralrs.models import llava
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import FeedForward, attend, patches

NAMES = {
    r"^(model\.)?vision_model\.": "encoder.tower.",
    r"tower\.model\.layers\.": "tower.layers.",
    r"tower\.patch_embedding\.linear\.": "tower.patch_embedding.",
    r"tower\.vision_adapter\.mlp\.": "tower.adapter.",
    r"projector\.linear_1\.": "projector.",
}


class Processor:
    """A picture, never enlarged beyond one tile, in the corner of a canvas of whole tiles."""

    joined = False
    placeholder = "<|patch|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.BILINEAR})
        vision = cfg.vision_config
        self.tile, self.most = image.box(files.get("size", 336))[0], files.get("max_patches", 16)
        self.largest = files.get("resize_to_max_canvas", False)
        self.rows = int((self.tile // vision.patch_size) ** 2 * vision.pixel_shuffle_ratio**2)

    def marker(self, index: int) -> str:
        return "<|image|>"

    def prepare(self, picture: image.Picture) -> Prepared:
        lines, columns = grid = self.canvas(picture.size)
        views = self.tiles(picture, columns * self.tile, lines * self.tile)
        if len(views) > 1:
            views.append(self.look.resize(picture, (self.tile, self.tile)))
        pixels = torch.stack([self.pixels(view) for view in views])
        return Prepared({"pixels": pixels}, len(views) * self.rows, grid)

    def canvas(self, size: image.Size) -> tuple[int, int]:
        """Lines and columns of tiles, of any number up to the most."""
        edges = range(1, self.most + 1)
        grids = [(y, x) for y in edges for x in edges if x * y <= self.most]
        return image.canvas(size, self.tile, grids, self.largest)

    def tiles(self, picture: image.Picture, width: int, height: int) -> list[image.Picture]:
        """The picture on a canvas of that size, cut; what it does not cover is black."""
        box = (width, height)
        if not self.largest:
            box = image.between(picture.size, self.tile, box)
        size = image.inside(picture.size, box)
        canvas = self.look.resize(picture, size).crop((0, 0, width, height))
        return image.tiles(canvas, (self.tile, self.tile))

    def pixels(self, view: image.Picture) -> Tensor:
        """Float32 [3, H, W], rounded to bfloat16 at every step as in training."""
        raw = image.Look((0.0,) * 3, (1.0,) * 3, 1.0).pixels(view).bfloat16()
        mean, std = (
            torch.tensor(v).bfloat16()[:, None, None] for v in (self.look.mean, self.look.std)
        )
        return ((raw * self.look.scale - mean) / std).float()

    def expand(self, prepared: Prepared, index: int) -> str:
        rows = self.placeholder * self.rows
        lines, columns = prepared.grid
        line = "<|tile_x_separator|>".join([rows] * columns) + "<|tile_y_separator|>"
        tiles = line * lines if lines * columns > 1 else ""
        return f"<|image_start|>{tiles}<|image|>{rows}<|image_end|>"


class Attention(nn.Module):
    """Patches turned by their place see each other."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            Linear(dim, dim, True) for _ in range(4)
        )
        self.heads = heads

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], pictures: int) -> Tensor:
        """x [N * P, D], turn cos and sin [N * P, d / 2] -> [N * P, D]."""
        q, k, v = (
            p(x).unflatten(1, (self.heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(attend(rope(q, *turn, True), rope(k, *turn, True), v, pictures))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.self_attn = Attention(dim, cfg.num_attention_heads)
        self.mlp = FeedForward(dim, cfg.intermediate_size, "gelu")
        self.input_layernorm, self.post_attention_layernorm = LayerNorm(dim), LayerNorm(dim)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], pictures: int) -> Tensor:
        """x [N * P, D] -> [N * P, D]."""
        x = x + self.self_attn(self.input_layernorm(x), turn, pictures)
        return x + self.mlp(self.post_attention_layernorm(x))


class Adapter(nn.Module):
    """act(fc2(act(fc1(x)))) of squares of patches."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.fc1 = Linear(cfg.intermediate_size, cfg.projector_input_dim)
        self.fc2 = Linear(cfg.projector_output_dim, cfg.projector_output_dim)
        self.merge = round(1 / cfg.pixel_shuffle_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, P, V] -> [N * rows, W]."""
        side, m = math.isqrt(x.shape[1]), self.merge
        squares = x.view(len(x), side // m, m, side // m, m, -1).transpose(2, 3)
        hidden = nn.functional.gelu(self.fc1(squares.flatten(3).flatten(0, 2)))
        return nn.functional.gelu(self.fc2(hidden))


class Tower(nn.Module):
    """The vision transformer; its class token comes last and has no place."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.size = cfg.hidden_size, cfg.patch_size
        self.side = cfg.image_size // cfg.patch_size
        self.head_dim, self.theta = (
            dim // cfg.num_attention_heads,
            cfg.rope["default"]["rope_theta"],
        )
        self.patch_embedding = Linear(cfg.num_channels * self.size**2, dim)
        self.class_embedding = empty(dim)
        self.positional_embedding_vlm = empty(self.side**2 + 1, dim)
        self.layernorm_pre, self.layernorm_post = LayerNorm(dim), LayerNorm(dim)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.adapter = Adapter(cfg)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [N, C, H, W] -> [N * rows, W]."""
        count = len(pixels)
        x = self.patch_embedding(patches(pixels, self.size)).unflatten(0, (count, -1))
        x = torch.cat((x, self.class_embedding.expand(count, 1, -1)), 1)
        x = self.layernorm_pre((x + self.positional_embedding_vlm).flatten(0, 1))
        cos, sin = (t.repeat(count, 1).to(x.device) for t in self.turns())
        for block in self.layers:
            x = block(x, (cos, sin), count)
        return self.adapter(self.layernorm_post(x).unflatten(0, (count, -1))[:, :-1])

    def turns(self) -> tuple[Tensor, Tensor]:
        """cos and sin [P + 1, d / 2]: half of the pairs turn with a patch's column, half with its line."""
        half = self.head_dim // 2
        freq = 1.0 / self.theta ** (torch.arange(0, half, 2).float() / half)
        y, x = torch.meshgrid(*[torch.arange(1, self.side + 1)] * 2, indexing="ij")
        angle = torch.cat((x.reshape(-1, 1) * freq, y.reshape(-1, 1) * freq), 1)
        angle = torch.cat((angle, torch.zeros(1, half)))
        return angle.cos(), angle.sin()


class Llama4(Encoder):
    text = "llama4_text"
    defaults = dict(
        vision_config=dict(
            hidden_size=768, intermediate_size=5632, num_hidden_layers=34, num_attention_heads=16, num_channels=3,
            image_size=448, patch_size=14, vision_output_dim=7680, pixel_shuffle_ratio=0.5,
            projector_input_dim=4096, projector_output_dim=4096,
        )
    )  # fmt: skip
    text_defaults = {
        "llama4_text": dict(
            vocab_size=202048, hidden_size=5120, intermediate_size=8192, num_hidden_layers=48, num_attention_heads=40,
            num_key_value_heads=8, max_position_embeddings=131072, tie_word_embeddings=False,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        self.tower = Tower(cfg.vision_config)
        self.projector = Linear(cfg.vision_config.vision_output_dim, cfg.text.hidden_size)

    def forward(self, media: Media) -> Tensor:
        return self.projector(self.tower(media.inputs["pixels"]))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return rename(tensors, llava.NAMES | NAMES)
