"""Gemma 3n: MobileNet-V5's grid of 256 rows for a picture, a conformer's 188 rows for up to 30 seconds of sound."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mistralrs.api.errors import ConfigError
from mistralrs.kernels.norm import rms_norm
from mistralrs.nn import audio, image, usm
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Embedding, Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.mobilenet import MATRICES, MobileNet
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import flatten_kernels

NAMES = {
    r"^(model\.)?vision_tower\.timm_model\.": "encoder.eyes.",
    r"^(model\.)?embed_vision\.": "encoder.embed_vision.",
    r"^(model\.)?embed_audio\.": "encoder.embed_audio.",
    r"^model\.language_model\.": "model.",
    r"^(model\.)?audio_tower\.": "encoder.ears.",
    r"ears\.conformer\.": "ears.layers.",
    r"(ears\..*)\.conv_(\d)\.": r"\1.layer\2.",
    r"(ears\..*)\.ffw_layer_start\.": r"\1.feed_forward1.",
    r"(ears\..*)\.ffw_layer_end\.": r"\1.feed_forward2.",
    r"(ears\..*)\.attn\.relative_position_embedding\.pos_proj\.": r"\1.attn.relative_k_proj.",
    r"(ears\..*)\.attention\.(attn\.)?": r"\1.self_attn.",
    r"(ears\..*)\.self_attn\.pre_attn_norm\.": r"\1.norm_pre_attn.",
    r"(ears\..*)\.self_attn\.post_norm\.": r"\1.norm_post_attn.",
    r"(ears\.layers\.\d+)\.norm\.": r"\1.norm_out.",
}


class Processor:
    """The whole picture as a square."""

    joined = False
    placeholder = "<image_soft_token>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        own = dict(image.HALF, do_normalize=False, resample=image.BILINEAR)
        self.look = image.Look.of(files, **own)
        self.size = image.box(files.get("size", 768))
        self.rows = files.get("image_seq_length") or cfg.vision_soft_tokens_per_image

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        return Prepared(
            {"pixels": self.look.pixels(self.look.resize(picture, self.size))}, self.rows
        )

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"\n\n<start_of_image>{self.placeholder * prepared.rows}<end_of_image>\n\n"


def hann(count: int) -> np.ndarray:
    """A Hann window, to the last bit as it was in training."""
    return 0.5 * (1 - np.cos(2 * np.pi * np.arange(count, dtype=np.float32) / (count - 1)))


class Listener:
    """Log-mel spectrograms; a sound has the same number of rows however long it is."""

    joined = False
    placeholder = "<audio_soft_token>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        bands = cfg.audio_config.input_feat_size
        self.look = audio.Frames.of({**audio.SPOKEN, **files}, bands, hann)
        self.rate, self.rows = self.look.rate, cfg.audio_soft_tokens_per_image

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, sound: Tensor) -> Prepared:
        self.look.check(len(sound))
        count = max(-(-len(sound) // 128) * 128, len(self.look.window) + 128)
        whole = np.pad(sound.numpy(), (0, count - len(sound)))
        mel = np.log(np.maximum(self.look.bands(whole), self.look.floor)).astype(np.float32)
        heard = min(-(-len(sound) // self.look.hop), len(mel))
        return Prepared({"mel": torch.from_numpy(mel)}, self.rows, (-(-heard // 4),))

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"\n\n<start_of_audio>{self.placeholder * prepared.rows}<end_of_audio>\n\n"


def conformer(cfg: Settings) -> usm.Conformer:
    """The ears of an audio_config."""
    if any(tuple(size) != (3, 3) for size in cfg.sscp_conv_kernel_size):
        raise ConfigError("config.json: convolutions of Gemma 3n's ears are 3 x 3")
    past = max(0, cfg.conf_attention_context_left - 1)
    shape = usm.Shape(
        cfg.hidden_size, cfg.conf_num_hidden_layers, cfg.conf_num_attention_heads, cfg.conf_conv_kernel_size,
        past=past, future=cfg.conf_attention_context_right, farthest=past, cap=cfg.conf_attention_logit_cap,
        keys=1.0, share=cfg.conf_residual_weight, eps=cfg.rms_norm_eps, bound=cfg.gradient_clipping,
    )  # fmt: skip
    first, second = cfg.sscp_conv_channel_size
    norm = partial(usm.Running, eps=cfg.sscp_conv_group_norm_eps)
    margins = (1, 1, 0, 2)  # frames see those behind them
    halvings = (
        usm.Halving(1, first, norm(first), margins),
        usm.Halving(first, second, norm(second), margins),
    )
    return usm.Conformer(shape, usm.Subsample(halvings, cfg.input_feat_size, shape.width))


class Embedder(nn.Module):
    """What an encoder saw, and the tokens that stand beside it, as words of the text model."""

    def __init__(self, cfg: Settings, text: Settings):
        super().__init__()
        dim, self.eps, self.first = cfg.hidden_size, cfg.rms_norm_eps, cfg.vocab_offset
        self.embedding = Embedding(cfg.vocab_size, dim)
        self.hard_embedding_norm, self.soft_embedding_norm = (RMSNorm(dim, self.eps) for _ in "hs")
        self.embedding_projection = Linear(dim, text.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """States x [P, V] -> [P, D]."""
        return self.projected(self.soft_embedding_norm(x))

    def tokens(self, ids: Tensor, like: Tensor) -> Tensor:
        """Token ids [T] -> [T, D]."""
        return self.projected(
            self.hard_embedding_norm(self.embedding(ids - self.first, like.dtype))
        )

    def projected(self, x: Tensor) -> Tensor:
        """Normed x [P, V] -> [P, D]."""
        y = self.embedding_projection(x)
        return rms_norm(y, y.new_ones(y.shape[1]), self.eps)


class Gemma3n(Encoder):
    text = "gemma3n_text"
    defaults: ClassVar[Mapping[str, Any]] = dict(
        vision_soft_tokens_per_image=256,
        audio_soft_tokens_per_image=188,
        vision_config=dict(
            hidden_size=2048, vocab_size=128, vocab_offset=262144, rms_norm_eps=1e-6, model_args=None
        ),
        audio_config=dict(
            hidden_size=1536, vocab_size=128, vocab_offset=262272, rms_norm_eps=1e-6, input_feat_size=128,
            conf_attention_chunk_size=12, conf_attention_context_left=13, conf_attention_context_right=0,
            conf_attention_logit_cap=50.0, conf_num_attention_heads=8, conf_num_hidden_layers=12,
            conf_conv_kernel_size=5, conf_reduction_factor=4, conf_residual_weight=0.5,
            sscp_conv_channel_size=(128, 32), sscp_conv_kernel_size=((3, 3), (3, 3)),
            sscp_conv_group_norm_eps=1e-3, gradient_clipping=1e10,
        ),
    )  # fmt: skip
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "gemma3n_text": dict(
            vocab_size=262400, hidden_size=2048, intermediate_size=16384, num_hidden_layers=35, rms_norm_eps=1e-6,
            num_attention_heads=8, num_key_value_heads=2, head_dim=256, hidden_size_per_layer_input=256,
            tie_word_embeddings=True,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        vision = cfg.vision_config
        shape = vision.get("model_args") or {}
        side = round(cfg.vision_soft_tokens_per_image**0.5)
        self.eyes = MobileNet(side, shape.get("channel_multiplier", 1.0))
        self.embed_vision = Embedder(vision, cfg.text)
        self.ears, self.thin = conformer(cfg.audio_config), cfg.audio_config.conf_reduction_factor
        self.embed_audio = Embedder(cfg.audio_config, cfg.text)

    def forward(self, media: Media) -> Tensor:
        if "mel" in media.inputs:
            return self.heard(media)
        x = self.eyes(media.inputs["pixels"])
        return self.embed_vision(x * x.shape[1] ** 0.5)

    def heard(self, media: Media) -> Tensor:
        """Every fourth state of a sound, and the last token of the table for the rest of its rows: [rows, D]."""
        x = self.embed_audio(self.ears(media.inputs["mel"], *media.grid)[:: self.thin])
        last = self.embed_audio.first + self.embed_audio.embedding.weight.shape[0] - 1
        rest = self.embed_audio.tokens(torch.tensor([last], device=x.device), x)
        return torch.cat((x, rest.expand(media.rows - len(x), -1)))

    def markers(self, ids: Tensor, x: Tensor) -> Tensor:
        """Embeddings x [T, D] of token ids, those replaced that stand beside images and sounds."""
        last = self.embed_audio.first
        for table, end in ((self.embed_vision, last), (self.embed_audio, 1 << 62)):
            rows = ((ids >= table.first) & (ids < end)).nonzero()[:, 0]
            if len(rows):
                x = x.index_copy(0, rows, table.tokens(ids[rows], x))
        return x

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def listener(cls, cfg: Settings, files: Mapping[str, Any]) -> Listener:
        return Listener(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return flatten_kernels(rename(tensors, NAMES), *MATRICES)
