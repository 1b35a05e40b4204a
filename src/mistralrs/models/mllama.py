"""Llama 3.2 Vision: up to four tiles of a picture, which the text model's cross-attention sees beside the text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.models import llava
from mistralrs.models.mllama_text_model import opened
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Embedding, Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import FeedForward, attend, flatten_kernels, patches

NAMES = {
    r"^(model\.)?vision_model\.": "encoder.tower.",
    r"tower\.(global_)?transformer\.layers\.": r"tower.\1transformer.",
}
RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]  # lines, columns of tiles
MULTIPLE = 8  # patches of a tile are filled up to


class Processor:
    """A picture, never enlarged beyond one tile, in the corner of a canvas of whole tiles."""

    joined = False
    placeholder = "<|image|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **{**image.HALF, "resample": image.BILINEAR})
        self.tile = image.box(files.get("size", 224))[0]
        ratios, most = cfg.vision_config.supported_aspect_ratios, files.get("max_image_tiles", 4)
        self.grids = [(lines, columns) for lines, columns in ratios if lines * columns <= most]

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        lines, columns = grid = image.canvas(picture.size, self.tile, self.grids)
        edges = columns * self.tile, lines * self.tile
        size = image.inside(picture.size, image.between(picture.size, self.tile, edges))
        canvas = self.look.resize(picture, size).crop((0, 0, *edges))
        tiles = image.tiles(canvas, (self.tile, self.tile))
        pixels = torch.stack([self.look.pixels(tile) for tile in tiles])
        return Prepared({"pixels": pixels}, len(tiles), grid, beside=True)

    def expand(self, prepared: Prepared, index: int) -> str:
        return self.placeholder


class Attention(nn.Module):
    """The first rows see all rows; those behind them only fill up, and see the first ones."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, real: int) -> Tensor:
        """x [R, V], the first `real` of them patches of the picture -> [R, V]."""
        q, k, v = (
            p(x).unflatten(1, (self.heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = attend(q[:real], k, v)
        if real < len(x):
            out = torch.cat((out, attend(q[real:], k[:real], v[:real])))
        return self.o_proj(out)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); in the global transformer each by a factor."""

    def __init__(self, cfg: Settings, gated: bool):
        super().__init__()
        dim = cfg.hidden_size
        self.self_attn = Attention(dim, cfg.attention_heads)
        self.mlp = FeedForward(dim, cfg.intermediate_size, cfg.hidden_act)
        self.input_layernorm, self.post_attention_layernorm = (
            LayerNorm(dim, cfg.norm_eps) for _ in range(2)
        )
        self.gate_attn, self.gate_ffn = (empty(1) if gated else None for _ in range(2))

    def forward(self, x: Tensor, real: int) -> Tensor:
        """x [R, V] -> [R, V]."""
        y = self.self_attn(self.input_layernorm(x), real)
        x = x + (y if self.gate_attn is None else self.gate_attn * y)
        y = self.mlp(self.post_attention_layernorm(x))
        return x + (y if self.gate_ffn is None else self.gate_ffn * y)


class TileEmbedding(nn.Module):
    """Learned embeddings of the tiles of every canvas."""

    def __init__(self, cfg: Settings):
        super().__init__()
        canvases, self.tiles = len(cfg.supported_aspect_ratios) + 1, cfg.max_num_tiles
        self.embedding, self.gate = Embedding(canvases, self.tiles * cfg.hidden_size), empty(1)

    def forward(self, canvas: Tensor, dtype: torch.dtype) -> Tensor:
        """The number [1] of a canvas -> [tiles, V]."""
        return self.gate * self.embedding(canvas, dtype).view(self.tiles, -1)


class PatchEmbedding(nn.Module):
    """Learned embeddings of the places in a tile, and of the places in a canvas."""

    def __init__(self, cfg: Settings, places: int):
        super().__init__()
        canvases, dim = len(cfg.supported_aspect_ratios) + 1, cfg.hidden_size
        self.embedding, self.gate = empty(places, dim), empty(1)
        self.tile_embedding = Embedding(canvases, cfg.max_num_tiles * places * dim)

    def forward(self, canvas: Tensor, dtype: torch.dtype) -> Tensor:
        """The number [1] of a canvas -> [tiles, P, V]."""
        tiles = self.tile_embedding(canvas, dtype).view(-1, *self.embedding.shape)
        return (1 - self.gate) * self.embedding + self.gate * tiles


class Tower(nn.Module):
    """Two vision transformers one behind the other; all tiles of a picture see each other.

    Empty tiles and rows fill up what the picture leaves of the largest canvas. Meta trained it so that the patches see
    them, but they do not see each other; so they are computed, although nothing reads what comes out for them.
    """

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.size, self.tiles = cfg.hidden_size, cfg.patch_size, cfg.max_num_tiles
        self.places = (cfg.image_size // cfg.patch_size) ** 2 + 1
        self.wanted = cfg.intermediate_layers_indices
        self.patch_embedding = Linear(cfg.num_channels * self.size**2, dim)
        self.class_embedding = empty(dim)
        self.pre_tile_positional_embedding = TileEmbedding(cfg)
        self.gated_positional_embedding = PatchEmbedding(cfg, self.places)
        self.post_tile_positional_embedding = TileEmbedding(cfg)
        self.layernorm_pre, self.layernorm_post = LayerNorm(dim), LayerNorm(dim)
        self.transformer = nn.ModuleList(Block(cfg, False) for _ in range(cfg.num_hidden_layers))
        self.global_transformer = nn.ModuleList(
            Block(cfg, True) for _ in range(cfg.num_global_layers)
        )

    def forward(self, pixels: Tensor, canvas: Tensor) -> Tensor:
        """pixels [N, C, H, W] on a canvas of that number [1] -> [N, P, V + V * states in between]."""
        x, tile = self.rows(self.embed(pixels, canvas), len(pixels))
        real, states = len(pixels) * self.places, []
        for block in self.transformer:
            x = block(x, real)
            states.append(x[:real])
        x = self.layernorm_post(x) + self.post_tile_positional_embedding(canvas, x.dtype)[tile]
        for block in self.global_transformer:
            x = block(x, real)
        between = torch.stack([states[i] for i in self.wanted], -1).flatten(1)
        return torch.cat((x[:real], between), 1).unflatten(0, (len(pixels), -1))

    def embed(self, pixels: Tensor, canvas: Tensor) -> Tensor:
        """pixels [N, C, H, W] -> what the first block reads of every tile [tiles, P, V]."""
        x = self.patch_embedding(patches(pixels, self.size)).unflatten(0, (len(pixels), -1))
        x = F.pad(x, (0, 0, 0, 0, 0, self.tiles - len(pixels)))
        x = x + self.pre_tile_positional_embedding(canvas, x.dtype)[:, None]
        x = torch.cat((self.class_embedding.expand(self.tiles, 1, -1), x), 1)
        return self.layernorm_pre(x + self.gated_positional_embedding(canvas, x.dtype))

    def rows(self, x: Tensor, tiles: int) -> tuple[Tensor, Tensor]:
        """x [tiles, P, V] -> rows [R, V], those of the first tiles first, and the tile of each [R]."""
        x = F.pad(x, (0, 0, 0, -self.places % MULTIPLE))
        empty = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        empty[:tiles, : self.places] = False
        order = empty.flatten().to(torch.uint8).argsort(stable=True)
        return x.flatten(0, 1)[order], order // x.shape[1]


class Mllama(Encoder):
    defaults = dict(
        vision_config=dict(
            hidden_size=1280, hidden_act="gelu", num_hidden_layers=32, num_global_layers=8, attention_heads=16,
            num_channels=3, intermediate_size=5120, vision_output_dim=7680, image_size=448, patch_size=14,
            norm_eps=1e-5, max_num_tiles=4, intermediate_layers_indices=[3, 7, 15, 23, 30],
            supported_aspect_ratios=RATIOS,
        )
    )  # fmt: skip
    text_defaults = {
        "mllama_text_model": dict(
            vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=40, num_attention_heads=32,
            num_key_value_heads=8, max_position_embeddings=131072, tie_word_embeddings=False,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        vision = cfg.vision_config
        self.tower, self.ratios = Tower(vision), [tuple(r) for r in vision.supported_aspect_ratios]
        self.beside = self.tower.tiles * self.tower.places
        self.projector = Linear(vision.vision_output_dim, cfg.text.hidden_size, bias=True)

    def forward(self, media: Media) -> Tensor:
        """An image -> [tiles, patches, D], as the layers with cross-attention make keys and values of it."""
        pixels = media.inputs["pixels"]
        canvas = torch.tensor([self.ratios.index(media.grid) + 1], device=pixels.device)
        x = self.tower(pixels, canvas)
        return self.projector(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = flatten_kernels(rename(tensors, llava.NAMES | NAMES), "patch_embedding.weight")
        return opened(named, "embedding.gate", ".gate_attn", ".gate_ffn")
