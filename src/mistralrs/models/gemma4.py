"""Gemma 4: pictures of any proportions in a fixed number of rows, each the mean of a square of patches."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mistralrs.api.errors import MediaError
from mistralrs.kernels.norm import rms_norm
from mistralrs.kernels.rope import rope
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.rope import inverse
from mistralrs.nn.vision import ACTS, attend

NAMES = {
    r"^(model\.)?vision_tower\.": "encoder.tower.",
    r"^(model\.)?embed_vision\.embedding_projection\.": "encoder.projector.",
    r"^model\.language_model\.": "model.",
    r"tower\.patch_embedder\.": "tower.",
    r"tower\.encoder\.": "tower.",
    r"(tower\..*)\.linear\.": r"\1.",
}
BOUNDS = ("input_min", "input_max", "output_min", "output_max")


class Processor:
    """As large as a number of rows allows, in whole squares of patches."""

    placeholder = "<|image|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        self.patch = files.get("patch_size", cfg.vision_config.patch_size)
        self.pool = files.get("pooling_kernel_size", cfg.vision_config.pooling_kernel_size)
        self.rows = files.get("max_soft_tokens", 280)
        self.joined = cfg.text.get("use_bidirectional_attention") == "vision"

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        size = self.size(picture.size)
        x = self.look.pixels(self.look.resize(picture, size)).unfold(1, self.patch, self.patch)
        x = x.unfold(2, self.patch, self.patch).permute(1, 2, 3, 4, 0).flatten(2).flatten(0, 1)
        columns, lines = (side // (self.patch * self.pool) for side in size)
        return Prepared({"patches": x}, lines * columns, (lines, columns))

    def size(self, size: image.Size) -> image.Size:
        """The largest size of about the same proportions."""
        square = self.patch * self.pool
        grow = math.sqrt(self.rows * square**2 / math.prod(size))
        sides = [math.floor(grow * side / square) for side in size]
        if not any(sides):
            raise MediaError(f"an image of {size[0]} x {size[1]} pixels is too long; crop it")
        for thin, long in ((0, 1), (1, 0)):
            if not sides[thin]:
                sides[thin], sides[long] = 1, min(size[long] // size[thin], self.rows)
        return sides[0] * square, sides[1] * square

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"<|image>{self.placeholder * prepared.rows}<image|>"


class Clipped(Linear):
    """A matrix whose inputs and outputs stay within bounds."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        for name in BOUNDS:
            self.register_parameter(name, empty())

    def forward(self, x: Tensor) -> Tensor:
        """x [..., K] -> [..., N]."""
        low, high, least, most = (getattr(self, name) for name in BOUNDS)
        return super().forward(x.clamp(low, high)).clamp(least, most)


class Attention(nn.Module):
    """Normed patches, half of each head turned by their column, half by their line."""

    def __init__(self, cfg: Settings):
        super().__init__()
        matrix = Clipped if cfg.use_clipped_linears else Linear
        dim, wide = cfg.hidden_size, cfg.num_attention_heads * cfg.head_dim
        self.q_proj, self.k_proj, self.v_proj = (matrix(dim, wide) for _ in range(3))
        self.o_proj, self.head_dim, self.eps = matrix(wide, dim), cfg.head_dim, cfg.rms_norm_eps
        self.q_norm, self.k_norm = (RMSNorm(cfg.head_dim, self.eps) for _ in range(2))

    def forward(self, x: Tensor, turns: list[tuple[Tensor, Tensor]]) -> Tensor:
        """x [P, V], cos and sin [P, d / 4] of columns and lines -> [P, V]."""
        q, k, v = (
            p(x).unflatten(1, (-1, self.head_dim)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = turned(self.q_norm(q), turns), turned(self.k_norm(k), turns)
        v = rms_norm(v, v.new_ones(self.head_dim), self.eps)
        return self.o_proj(attend(q * self.head_dim**0.5, k, v))  # scores are not scaled


def turned(x: Tensor, turns: list[tuple[Tensor, Tensor]]) -> Tensor:
    """x [P, H, d] with each half of a head turned by its own angles."""
    halves = zip(x.chunk(2, -1), turns, strict=True)
    return torch.cat([rope(half.contiguous(), *turn) for half, turn in halves], -1)


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        matrix = Clipped if cfg.use_clipped_linears else Linear
        dim, wide = cfg.hidden_size, cfg.intermediate_size
        self.gate_proj, self.up_proj, self.down_proj = (
            matrix(dim, wide),
            matrix(dim, wide),
            matrix(wide, dim),
        )
        self.act = ACTS[cfg.hidden_activation]

    def forward(self, x: Tensor) -> Tensor:
        """x [P, V] -> [P, V]."""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, eps = cfg.hidden_size, cfg.rms_norm_eps
        self.self_attn, self.mlp = Attention(cfg), GatedMLP(cfg)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = (
            RMSNorm(dim, eps),
            RMSNorm(dim, eps),
        )

    def forward(self, x: Tensor, turns: list[tuple[Tensor, Tensor]]) -> Tensor:
        """x [P, V] -> [P, V]."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), turns))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Tower(nn.Module):
    """The vision transformer, and the means of its squares."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.pool = cfg.hidden_size, cfg.pooling_kernel_size
        self.input_proj = Linear(3 * cfg.patch_size**2, dim)
        self.position_embedding_table = empty(2, cfg.position_embedding_size, dim)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.std_bias = empty(dim) if cfg.standardize else None
        self.std_scale = empty(dim) if cfg.standardize else None
        self.spread, self.theta = cfg.head_dim // 2, cfg.rope["default"]["rope_theta"]

    def forward(self, patches: Tensor, lines: int, columns: int) -> Tensor:
        """patches [P, K] of so many squares -> [rows, V]."""
        m, device = self.pool, patches.device
        y, x = torch.meshgrid(torch.arange(lines * m), torch.arange(columns * m), indexing="ij")
        at = torch.stack((x.flatten(), y.flatten())).to(device)
        table = self.position_embedding_table
        states = self.input_proj(patches) + table[0, at[0]] + table[1, at[1]]
        freq = inverse(self.spread, self.theta).to(device)
        angles = at[..., None].float() * freq
        turns = [(angle.cos(), angle.sin()) for angle in angles]
        for block in self.layers:
            states = block(states, turns)
        squares = states.view(lines, m, columns, m, -1).mean((1, 3)).flatten(0, 1)
        return self.standard(squares * squares.shape[1] ** 0.5)

    def standard(self, x: Tensor) -> Tensor:
        """x [rows, V] by the statistics of the checkpoint, if it has some."""
        if self.std_bias is None or self.std_scale is None:
            return x
        return (x - self.std_bias) * self.std_scale


class Gemma4(Encoder):
    text = "gemma4_text"
    defaults: ClassVar[Mapping[str, Any]] = dict(
        vision_config=dict(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=16, num_attention_heads=12, head_dim=64,
            hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, pooling_kernel_size=3, patch_size=16,
            position_embedding_size=10240, use_clipped_linears=False, standardize=False, rope_theta=100.0,
        )
    )  # fmt: skip
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "gemma4_text": dict(
            vocab_size=262144, hidden_size=2304, intermediate_size=9216, num_hidden_layers=30, num_attention_heads=8,
            num_key_value_heads=4, head_dim=256, rms_norm_eps=1e-6, tie_word_embeddings=True,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        self.tower, self.eps = Tower(cfg.vision_config), cfg.vision_config.rms_norm_eps
        self.projector = Linear(cfg.vision_config.hidden_size, cfg.text.hidden_size)

    def forward(self, media: Media) -> Tensor:
        x = self.tower(media.inputs["patches"], *media.grid)
        return self.projector(rms_norm(x, x.new_ones(x.shape[1]), self.eps))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return drop(
            rename(tensors, NAMES), "audio_tower", "embed_audio"
        )  # sounds are not heard yet
