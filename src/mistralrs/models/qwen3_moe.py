"""Qwen 3 with many small experts in some or all of its layers."""

from torch import nn

from mistralrs.models import llama, mixtral, qwen3
from mistralrs.nn.attention import Attention
from mistralrs.nn.checkpoint import Tensors
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.moe import stacked


class Block(llama.Block):
    """A Qwen 3 block, with experts in every `decoder_sparse_step`-th layer but `mlp_only_layers`."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        return qwen3.attention(cfg, cfg.sliding_window)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        experts = cfg.get("num_experts") or cfg.num_local_experts
        if layer in cfg.get("mlp_only_layers", ()) or (layer + 1) % cfg.decoder_sparse_step:
            return GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act)
        width, top = cfg.moe_intermediate_size, cfg.num_experts_per_tok
        return mixtral.MoE(cfg, experts, width, top, cfg.norm_topk_prob)


class Qwen3Moe(Decoder):
    Block = Block
    defaults = dict(
        qwen3.Qwen3.defaults,
        use_sliding_window=False,
        decoder_sparse_step=1,
        mlp_only_layers=(),
        norm_topk_prob=False,
        num_experts_per_tok=8,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return stacked(tensors, cfg.moe_intermediate_size)
