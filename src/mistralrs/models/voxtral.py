"""Voxtral: sounds in pieces of 30 seconds by Whisper's encoder, four of its states to a row."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.models.llava import NAMES
from mistralrs.nn import vision
from mistralrs.nn.audio import log_mel
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import LayerNorm

WHISPER = {  # names of checkpoints -> those of vision.Block
    r"^(model\.)?audio_tower\.": "encoder.tower.",
    r"self_attn_layer_norm": "layer_norm1",
    r"final_layer_norm": "layer_norm2",
    r"(layers\.\d+)\.fc": r"\1.mlp.fc",
    r"embed_positions": "position_embedding",
}


class Listener:
    """Spectrograms of whole pieces; the last one is filled up with silence."""

    joined = False
    placeholder = "[AUDIO]"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        audio = cfg.audio_config
        self.bands, self.frames = audio.num_mel_bins, 2 * audio.max_source_positions
        self.rate, self.hop = files.get("sampling_rate", 16000), files.get("hop_length", 160)
        self.size = files.get("n_fft", 400)
        self.rows = audio.max_source_positions * audio.hidden_size // audio.intermediate_size

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, sound: Tensor) -> Prepared:
        piece = self.frames * self.hop
        pieces = -(-len(sound) // piece)
        whole = F.pad(sound, (0, pieces * piece - len(sound)))
        mel = log_mel(whole, self.bands, self.size, self.hop, self.rate)
        mel = mel.unflatten(1, (pieces, self.frames)).transpose(0, 1)
        return Prepared({"mel": mel.contiguous()}, pieces * self.rows)

    def expand(self, prepared: Prepared, index: int) -> str:
        return "[BEGIN_AUDIO]" + self.placeholder * prepared.rows


class Block(vision.Block):
    """x + attention(norm(x)), then x + mlp(norm(x)); keys have no bias."""

    def __init__(self, cfg: Settings):
        nn.Module.__init__(self)
        dim = cfg.hidden_size
        self.self_attn = vision.SelfAttention(dim, cfg.num_attention_heads)
        self.self_attn.k_proj = Linear(dim, dim)
        self.mlp = vision.FeedForward(dim, cfg.intermediate_size, cfg.activation_function)
        self.layer_norm1, self.layer_norm2 = LayerNorm(dim, 1e-5), LayerNorm(dim, 1e-5)


def taps(x: Tensor, stride: int) -> Tensor:
    """x [N, C, T] -> what a convolution of three taps multiplies [N * T / stride, C * 3]."""
    windows = F.pad(x, (1, 1)).unfold(2, 3, stride)
    return windows.transpose(1, 2).flatten(2).flatten(0, 1)


class Whisper(nn.Module):
    """The encoder of sounds."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.conv1, self.conv2 = Linear(cfg.num_mel_bins * 3, dim, True), Linear(dim * 3, dim, True)
        self.position_embedding = vision.Table(cfg.max_source_positions, dim)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.layer_norm = LayerNorm(dim, 1e-5)

    def forward(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """mel [N, bands, T] of N pieces -> [N * T / 2, V]; each state sees those where `mask` [T, T] is true."""
        count = len(mel)
        x = F.gelu(self.conv1(taps(mel, 1))).unflatten(0, (count, -1))
        x = F.gelu(self.conv2(taps(x.transpose(1, 2), 2)))
        x = x + self.position_embedding.weight[: len(x) // count].repeat(count, 1)
        for block in self.layers:
            x = block(x, count, mask)
        return self.layer_norm(x)


class Projector(nn.Module):
    """linear_2(act(linear_1(x))), where x is several states side by side."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.wide, dim = cfg.audio_config.intermediate_size, cfg.text.hidden_size
        self.linear_1, self.linear_2 = Linear(self.wide, dim), Linear(dim, dim)
        self.act = vision.ACTS[cfg.projector_hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [rows, D]."""
        return self.linear_2(self.act(self.linear_1(x.reshape(-1, self.wide))))


class Voxtral(Encoder):
    defaults = dict(
        projector_hidden_act="gelu",
        audio_config=dict(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, num_mel_bins=128,
            max_source_positions=1500, activation_function="gelu",
        ),
    )  # fmt: skip
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "llama": dict(
            vocab_size=131072, hidden_size=3072, intermediate_size=8192, num_hidden_layers=30, num_attention_heads=32,
            num_key_value_heads=8, head_dim=128, max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=1e8,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        self.tower, self.projector = Whisper(cfg.audio_config), Projector(cfg)

    def forward(self, media: Media) -> Tensor:
        return self.projector(self.tower(media.inputs["mel"]))

    @classmethod
    def listener(cls, cfg: Settings, files: Mapping[str, Any]) -> Listener:
        return Listener(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, NAMES | WHISPER)
        return vision.flatten_kernels(named, "conv1.weight", "conv2.weight")
