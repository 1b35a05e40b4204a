"""StarCoder 2: Mistral with layer norms, biases, and an MLP without a gate."""

from torch import nn

from mistralrs.models import llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.checkpoint import Tensors, rename
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import MLP
from mistralrs.nn.norm import LayerNorm


class Block(llama.Block):
    """A Llama block of other parts."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        bias = cfg.use_bias
        return llama.attention(cfg, bias=bias, out_bias=bias, window=cfg.sliding_window)

    def feed_forward(self, cfg: Settings, layer: int) -> MLP:
        return MLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act, cfg.use_bias)

    def norm(self, cfg: Settings) -> nn.Module:
        return LayerNorm(cfg.hidden_size, cfg.norm_epsilon)


class Starcoder2(Decoder):
    Block = Block
    defaults = dict(
        hidden_act="gelu_pytorch_tanh",
        norm_epsilon=1e-5,
        use_bias=True,
        sliding_window=None,
        tie_word_embeddings=True,
    )

    def norm(self, cfg: Settings) -> nn.Module:
        return LayerNorm(cfg.hidden_size, cfg.norm_epsilon)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return rename(tensors, {r"\.c_fc\.": ".up_proj.", r"\.c_proj\.": ".down_proj."})
