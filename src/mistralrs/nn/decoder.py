"""The frame of every decoder-only model: an architecture adds its Block and, where it differs, a method."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.linear import Embedding, Linear
from mistralrs.nn.media import Encoder, Media
from mistralrs.nn.norm import RMSNorm


class Settings(Protocol):
    """What a model file sees of config.json: keys as attributes, in the spelling of transformers 5."""

    def __getattr__(self, name: str) -> Any: ...

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        ...


class Trunk(nn.Module):
    """The part of a checkpoint under `model.`."""

    def __init__(self, embed_tokens: Embedding, layers: list[nn.Module], norm: nn.Module):
        super().__init__()
        self.embed_tokens, self.layers, self.norm = embed_tokens, nn.ModuleList(layers), norm


class Decoder(nn.Module):
    """Token ids in, logits out."""

    Block: type[nn.Module]  # made with (settings, layer)
    defaults: ClassVar[
        Mapping[str, Any]
    ] = {}  # keys that older checkpoints leave out of config.json

    dtype: torch.dtype = torch.float32  # of activations; set when the model is filled
    encoder: Encoder | None  # of images and sounds, where the checkpoint has one

    def __init__(self, cfg: Settings):
        super().__init__()
        self.cfg, self.encoder = cfg, None
        self.model = Trunk(
            Embedding(cfg.vocab_size, cfg.hidden_size),
            [type(self).Block(cfg, i) for i in range(cfg.num_hidden_layers)],
            self.norm(cfg),
        )
        self.lm_head = Linear(cfg.hidden_size, cfg.vocab_size)

    def norm(self, cfg: Settings) -> nn.Module:
        """The last norm."""
        return RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def embed(self, batch: Batch) -> Tensor:
        """Token ids [T] -> [T, D]."""
        return self.model.embed_tokens(batch.tokens, self.dtype)

    def inputs(self, batch: Batch) -> Tensor:
        """What the first layer reads [T, D]: embeddings, and where media stand their rows."""
        x = self.embed(batch)
        for rows, encoded in batch.media:
            x[rows] = encoded[:, : x.shape[1]].to(x.dtype)
        return x

    def encode(self, media: Media) -> Tensor:
        """What is kept of a medium: the encoder's rows [rows, W], or [rows, ...] as cross-attention reads them."""
        assert self.encoder is not None, "only models with an encoder get media"
        return self.encoder.encode(media)

    def head(self, x: Tensor) -> Tensor:
        """x [R, D] -> logits [R, V]."""
        return self.lm_head(x)

    def states(self, batch: Batch) -> Tensor:
        """What the last norm gives [R, D] for the rows in `batch.outputs`."""
        x = self.inputs(batch)
        for number, layer in enumerate(self.model.layers, 1):
            x = deepen(layer(x, batch), batch, number)
        return self.ends(x, batch)

    def ends(self, x: Tensor, batch: Batch) -> Tensor:
        """What the last norm gives [R, D] for the wanted rows of x [T, D]."""
        return self.model.norm(x[batch.outputs])

    def forward(self, batch: Batch) -> Tensor:
        """Logits float32 [R, V] of the rows in `batch.outputs`."""
        return self.head(self.states(batch)).float()

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        """Rename, split or stack checkpoint tensors; most architectures need nothing."""
        return tensors


def deepen(x: Tensor, batch: Batch, number: int) -> Tensor:
    """x [T, D] behind the `number`-th layer, plus the media's columns for it, behind the first D (arXiv 2406.04334)."""
    dim = x.shape[1]
    for rows, encoded in batch.media:
        if encoded.shape[1] > number * dim:
            x = x.index_add(0, rows, encoded[:, number * dim : (number + 1) * dim].to(x.dtype))
    return x
