"""LFM 2: most layers mix neighbouring tokens by a short gated convolution, a few by attention with q and k norms."""

from functools import partial

from torch import Tensor, nn

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.recurrent import Conv

NAMES = {
    r"\.q_layernorm\.": ".q_norm.",
    r"\.k_layernorm\.": ".k_norm.",
    r"self_attn\.out_proj": "self_attn.o_proj",
    r"\.embedding_norm\.": ".norm.",
    r"\.w1\.": ".gate_proj.",
    r"\.w2\.": ".down_proj.",
    r"\.w3\.": ".up_proj.",
}


class ShortConv(nn.Module):
    """out(c * conv(b * x)), where b, c and x are projections of the input."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.hidden_size
        self.in_proj = Linear(dim, 3 * dim, cfg.conv_bias)
        self.conv = Conv(dim, cfg.conv_L_cache, cfg.conv_bias)
        self.out_proj = Linear(dim, dim, cfg.conv_bias)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        b, c, x = self.in_proj(x).chunk(3, -1)
        return self.out_proj(c * self.conv(b * x, batch))


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        short = cfg.layer_types[layer] == "conv"
        self.conv = ShortConv(cfg) if short else None
        self.self_attn = None if short else attention(cfg)
        self.feed_forward = self.mixture(cfg, layer)
        self.operator_norm = RMSNorm(cfg.hidden_size, cfg.norm_eps)
        self.ffn_norm = RMSNorm(cfg.hidden_size, cfg.norm_eps)

    def mixture(self, cfg: Settings, layer: int) -> nn.Module:
        """The channel mixer of this layer."""
        return GatedMLP(cfg.hidden_size, width(cfg))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]."""
        x = x + (self.conv or self.self_attn)(self.operator_norm(x), batch)
        return x + self.feed_forward(self.ffn_norm(x))


def attention(cfg: Settings) -> Attention:
    """Llama's, with a norm of every head of queries and keys."""
    return llama.attention(cfg, qk_norm=partial(RMSNorm, eps=cfg.norm_eps))


def width(cfg: Settings) -> int:
    """The feed-forward width: two thirds of what config.json says, rounded up, unless it is meant literally."""
    width: int = cfg.get("block_ff_dim") or cfg.intermediate_size
    if not cfg.block_auto_adjust_ff_dim:
        return width
    width = int(2 * width / 3)
    if cfg.get("block_ffn_dim_multiplier") is None:
        return width
    unit = cfg.block_multiple_of
    return -(-int(cfg.block_ffn_dim_multiplier * width) // unit) * unit


class Lfm2(Decoder):
    Block = Block
    defaults = dict(
        tie_word_embeddings=True, rope_theta=1e6, norm_eps=1e-5, conv_bias=False, conv_L_cache=3,
        block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=1.0, block_multiple_of=256,
    )  # fmt: skip

    def norm(self, cfg: Settings) -> RMSNorm:
        return RMSNorm(cfg.hidden_size, cfg.norm_eps)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return rename(tensors, NAMES)
