"""Gemma: Llama with scaled embeddings, norms that multiply by 1 + weight, and GELU."""

from torch import Tensor, nn, tensor

from mistralrs.models import llama
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm

# The first checkpoints say "gelu" and were trained with the tanh form.
ACTS = {"gelu": "gelu_pytorch_tanh"}


def norm(cfg: Settings) -> RMSNorm:
    """A norm over the hidden features."""
    return RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, offset=1.0)


class Block(llama.Block):
    """A Llama block with Gemma's norms."""

    def feed_forward(self, cfg: Settings, layer: int) -> GatedMLP:
        act = ACTS.get(cfg.hidden_act, cfg.hidden_act)
        return GatedMLP(cfg.hidden_size, cfg.intermediate_size, act)

    def norm(self, cfg: Settings) -> nn.Module:
        return norm(cfg)


class Gemma(Decoder):
    Block = Block
    defaults = dict(
        llama.Llama.defaults,
        hidden_act="gelu_pytorch_tanh",
        tie_word_embeddings=True,
        head_dim=256,
    )

    def norm(self, cfg: Settings) -> nn.Module:
        return norm(cfg)

    def embed(self, batch: Batch) -> Tensor:
        # The factor is rounded like an activation, as it was in training.
        scale = tensor(self.cfg.hidden_size**0.5, dtype=self.dtype).item()
        return super().embed(batch) * scale
