"""gpt-oss: attention sinks, windows in every other layer, biased experts with a clamped activation."""

from functools import partial

import torch
from torch import Tensor, nn

from mistralrs.kernels.glu import glu
from mistralrs.models import llama, qwen2
from mistralrs.nn.attention import Attention
from mistralrs.nn.checkpoint import Lazy, Packed, Tensors, rename
from mistralrs.nn.decoder import Decoder, Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.moe import Experts, top_softmax
from mistralrs.quant import mxfp4

NAMES = {
    r"(experts\.\w+)_proj_bias$": r"\1_bias",
    r"(experts\.\w+_proj)\.weight$": r"\1",  # stacks that are [E, N, K] already
}


class ClampedExperts(Experts):
    """Experts that clamp both halves and add 1 to the linear one."""

    def __init__(self, cfg: Settings):
        super().__init__(cfg.num_local_experts, cfg.hidden_size, cfg.intermediate_size, bias=True)
        self.alpha, self.limit = cfg.swiglu_alpha, cfg.swiglu_limit

    def mix(self, gate: Tensor, up: Tensor) -> Tensor:
        """gate, up [M, F] -> gate sigmoid(alpha gate) (up + 1) [M, F]."""
        gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        return glu(gate * self.alpha, (up + 1) / self.alpha, "silu")


class MoE(nn.Module):
    """The best experts, weighted by the softmax over them."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.router = Linear(cfg.hidden_size, cfg.num_local_experts, bias=True)
        self.experts = ClampedExperts(cfg)
        self.top = cfg.num_experts_per_tok

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.experts(x, *top_softmax(self.router(x), self.top))


class Block(llama.Block):
    """A Llama block with sinks, windows and experts."""

    def attention(self, cfg: Settings, layer: int) -> Attention:
        bias, window = cfg.attention_bias, qwen2.window(cfg, layer)
        return llama.attention(cfg, bias=bias, out_bias=bias, window=window, sinks=True)

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        return MoE(cfg)


class GptOss(Decoder):
    Block = Block
    defaults = dict(
        attention_bias=True,
        rms_norm_eps=1e-5,
        rope_theta=150000.0,
        swiglu_alpha=1.702,
        swiglu_limit=7.0,
    )

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        return rename(unpacked(apart(rows_first(tensors))), NAMES)


def rows_first(tensors: Tensors) -> Tensors:
    """The stacks of `save_pretrained` [E, K, N] turned to [E, N, K], as all others are."""

    def turned(name: str, tensor: Lazy) -> Lazy:
        if name.endswith("experts.down_proj"):
            return tensor.transpose().map(Tensor.contiguous)
        return tensor.transpose() if name.endswith("experts.gate_up_proj") else tensor

    return {name: turned(name, tensor) for name, tensor in tensors.items()}


def apart(tensors: Tensors) -> Tensors:
    """Rows [E, 2N, ...] of gate and up, which alternate, as two tensors [E, N, ...]."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        if "gate_up_proj" not in name:
            out[name] = tensor
            continue
        shape = (tensor.shape[0], tensor.shape[1] // 2, *tensor.shape[2:])
        for first, half in enumerate(("gate", "up")):
            rows = partial(every_other, first=first)
            out[name.replace("gate_up", half)] = tensor.map(rows, shape)
    return out


def every_other(x: Tensor, first: int) -> Tensor:
    """x [E, 2N, ...] -> [E, N, ...]."""
    return x[:, first::2].contiguous()


def unpacked(tensors: Tensors) -> Tensors:
    """The MXFP4 experts of the hub as stacks that stay packed."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("_blocks"):
            scales = tensors[name.replace("_blocks", "_scales")]
            groups = scales.shape[-1]
            raw = tensor.map(partial(joined, scales=scales), (*scales.shape[:-1], 17 * groups))
            stack = Packed.over(raw, 32 * groups, mxfp4.of_rows, "MXFP4", torch.bfloat16)
            out[name.removesuffix("_blocks")] = stack
        elif not name.endswith("_scales"):
            out[name] = tensor
    return out


def joined(blocks: Tensor, scales: Lazy) -> Tensor:
    """Blocks and the scales that belong to them -> rows of bytes."""
    return mxfp4.rows(blocks, scales.load())
