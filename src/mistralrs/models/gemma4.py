"""Gemma 4: pictures of any proportions, each row the mean of a square of patches; E2B and E4B hear by a conformer."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mistralrs.api.errors import MediaError
from mistralrs.kernels.norm import rms_norm
from mistralrs.kernels.rope import rope
from mistralrs.nn import audio, image, usm
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import LayerNorm, RMSNorm
from mistralrs.nn.rope import inverse
from mistralrs.nn.vision import ACTS, attend

NAMES = {
    r"^(model\.)?vision_tower\.": "encoder.tower.",
    r"^(model\.)?embed_vision\.embedding_projection\.": "encoder.projector.",
    r"^model\.language_model\.": "model.",
    r"tower\.patch_embedder\.": "tower.",
    r"tower\.encoder\.": "tower.",
    r"((tower|ears)\..*)\.linear\.": r"\1.",
}
EARS = {
    r"^(model\.)?audio_tower\.output_proj\.": "encoder.spoken.",
    r"^(model\.)?audio_tower\.": "encoder.ears.",
    r"^(model\.)?embed_audio\.embedding_projection\.": "encoder.speech.",
}
HEARD = dict(  # what audio_config may leave out
    hidden_size=1024, num_hidden_layers=12, num_attention_heads=8, hidden_act="silu", conv_kernel_size=5,
    subsampling_conv_channels=(128, 32), residual_weight=0.5, attention_chunk_size=12, attention_context_left=13,
    attention_context_right=0, attention_logit_cap=50.0, use_clipped_linears=True, rms_norm_eps=1e-6,
    gradient_clipping=1e10, output_proj_dims=1536,
)  # fmt: skip
BANDS = 128
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


class Listener:
    """Log-mel spectrograms of the frames that are sound to their end; a row for every fourth."""

    joined = False
    placeholder = "<|audio|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        said = dict(audio.SPOKEN, frame_length_ms=20.0, min_frequency=0.0, max_frequency=8000.0)
        said |= dict(preemphasis=0.0, fft_overdrive=False, mel_floor=1e-3)
        self.look = audio.Frames.of({**said, **files}, BANDS, np.hanning)
        self.rate = self.look.rate

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, sound: Tensor) -> Prepared:
        self.look.check(len(sound))
        half = len(self.look.window) // 2
        whole = np.pad(sound.numpy(), (half, half + self.look.hop))
        mel = np.log(self.look.bands(whole) + self.look.floor).astype(np.float32)
        frames = -(-(len(sound) - half) // self.look.hop)
        if frames < 1:
            raise MediaError(f"a sound of {len(sound)} samples is too short to be heard")
        return Prepared({"mel": torch.from_numpy(mel[:frames])}, -(-frames // 4))

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"<|audio>{self.placeholder * prepared.rows}<audio|>"


def conformer(cfg: Settings) -> usm.Conformer:
    """The ears of an audio_config."""
    said = {key: cfg.get(key, value) for key, value in HEARD.items()}
    width, eps, left = said["hidden_size"], said["rms_norm_eps"], said["attention_context_left"]
    context = said["attention_chunk_size"] + left - 1 + said["attention_context_right"]
    shape = usm.Shape(
        width, said["num_hidden_layers"], said["num_attention_heads"], said["conv_kernel_size"],
        past=left - 2, future=max(0, said["attention_context_right"] - 1), farthest=context // 2 - 1,
        cap=said["attention_logit_cap"], keys=math.log(1 + math.e) / math.log(2), share=said["residual_weight"],
        eps=eps, bound=said["gradient_clipping"], act=said["hidden_act"],
        matrix=Clipped if said["use_clipped_linears"] else Linear,
    )  # fmt: skip
    channels, halvings = (1, *said["subsampling_conv_channels"]), []
    for inputs, outputs in zip(channels, channels[1:], strict=False):
        norm = LayerNorm(outputs, eps, bias=False)
        halvings.append(usm.Halving(inputs, outputs, norm, (1, 1, 1, 1)))
    return usm.Conformer(shape, usm.Subsample((halvings[0], halvings[1]), BANDS, width))


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
        heard = cfg.get("audio_config")
        if heard is not None:
            width = heard.get("output_proj_dims", HEARD["output_proj_dims"])
            self.ears = conformer(heard)
            self.spoken = Linear(heard.get("hidden_size", HEARD["hidden_size"]), width, bias=True)
            self.speech = Linear(width, cfg.text.hidden_size)

    def forward(self, media: Media) -> Tensor:
        if "mel" in media.inputs:
            x = self.spoken(self.ears(media.inputs["mel"], media.rows))
            return self.speech(rms_norm(x, x.new_ones(x.shape[1]), self.eps))
        x = self.tower(media.inputs["patches"], *media.grid)
        return self.projector(rms_norm(x, x.new_ones(x.shape[1]), self.eps))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def listener(cls, cfg: Settings, files: Mapping[str, Any]) -> Listener | None:
        return None if cfg.get("audio_config") is None else Listener(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, EARS | NAMES)
        deaf = cfg.get("audio_config") is None
        return drop(named, r"encoder\.(ears|spoken|speech)") if deaf else named
