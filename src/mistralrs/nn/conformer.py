"""A conformer (arXiv 2005.08100) with relative positions, as Phi 4 hears with it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import ACTS, Table, attend

SPAN = 500  # states that see each other: 40 seconds
PIECE = 64  # states whose convolutions are computed together


class Norm(nn.Module):
    """(x - mean) * invstd, by what training data had."""

    def __init__(self, bands: int):
        super().__init__()
        self.global_mean, self.global_invstd = empty(bands), empty(bands)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, bands] -> the same."""
        return (x - self.global_mean) * self.global_invstd


class Kernel(nn.Module):
    """The weights of a convolution."""

    def __init__(self, *shape: int):
        super().__init__()
        self.weight, self.bias = empty(*shape), empty(shape[0])


class Subsampling(nn.Module):
    """Convolutions over time and bands that halve both, the first dense and the others depthwise."""

    def __init__(self, cfg: Settings):
        super().__init__()
        wide, halvings = cfg.nemo_conv_channels, int(math.log2(cfg.time_reduction))
        self.first = Kernel(wide, 1, 3, 3)
        self.depthwise = nn.ModuleList(Kernel(wide, 1, 3, 3) for _ in range(halvings - 1))
        self.pointwise = nn.ModuleList(Linear(wide, wide, True) for _ in range(halvings - 1))
        bands = -(-cfg.input_size // cfg.time_reduction)
        self.out = Linear(wide * bands, cfg.hidden_size, True)
        self.act, self.step = ACTS[cfg.nemo_activation], cfg.time_reduction

    def forward(self, x: Tensor) -> Tensor:
        """x [T, bands] -> [T / step, D], a piece at a time: all of a long sound would not fit."""
        size = PIECE * self.step
        states = []
        for first in range(0, len(x), size):
            before = self.step if first else 0  # frames whose state is another one at a beginning
            piece = self.piece(x[first - before : first + size])
            states.append(piece[1:] if before else piece)
        return torch.cat(states)

    def piece(self, x: Tensor) -> Tensor:
        """x [t, bands] -> [t / step, D]."""
        x = self.act(F.conv2d(x[None, None], self.first.weight, self.first.bias, 2, 1))
        for deep, wide in zip(self.depthwise, self.pointwise, strict=True):
            assert isinstance(deep, Kernel)
            x = F.conv2d(x, deep.weight, deep.bias, 2, 1, groups=x.shape[1])
            lines = x[0].permute(1, 2, 0)  # [t, bands, C]
            x = wide(lines.flatten(0, 1)).unflatten(0, lines.shape[:2]).permute(2, 0, 1)[None]
            x = self.act(x)
        return self.out(x[0].transpose(0, 1).flatten(1))


class FeedForward(nn.Module):
    """down(up * act(gate)) of the normed states."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.layer_norm = LayerNorm(cfg.hidden_size, 1e-5)
        self.gate_up_proj = Linear(cfg.hidden_size, 2 * cfg.intermediate_size, True)
        self.down_proj = Linear(cfg.intermediate_size, cfg.hidden_size, True)
        self.act = ACTS[cfg.activation]

    def forward(self, x: Tensor) -> Tensor:
        """x [N * T, D] -> [N * T, D]."""
        up, gate = self.gate_up_proj(self.layer_norm(x)).chunk(2, -1)
        return self.down_proj(up * self.act(gate))


class Attention(nn.Module):
    """The states of a span see each other."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.heads = cfg.hidden_size, cfg.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            Linear(dim, dim, True) for _ in range(4)
        )

    def forward(self, x: Tensor, count: int, bias: Tensor) -> Tensor:
        """x [N * T, D] of N spans, bias [H, T, T] -> [N * T, D]."""
        q, k, v = (
            p(x).unflatten(1, (self.heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(attend(q, k, v, count, bias))


class Convolution(nn.Module):
    """Gated pointwise, then a depthwise one that looks back, then pointwise ones."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, wide, size = cfg.hidden_size, cfg.ext_pw_out_channel, cfg.kernel_size
        self.layer_norm = LayerNorm(dim, 1e-5)
        self.glu = Linear(dim, 2 * wide, True)
        self.depthwise = Kernel(wide * cfg.depthwise_multiplier, 1, size)
        inner = cfg.depthwise_separable_out_channel
        self.pointwise = Linear(wide * cfg.depthwise_multiplier, inner, True)
        self.out = Linear(inner, dim, True)
        self.gate, self.act = ACTS[cfg.conv_glu_type], ACTS[cfg.conv_activation]

    def forward(self, x: Tensor, count: int) -> Tensor:
        """x [N * T, D] of N spans -> [N * T, D]."""
        up, gate = self.glu(self.layer_norm(x)).chunk(2, -1)
        x = (up * self.gate(gate)).unflatten(0, (count, -1)).transpose(1, 2)
        kernel = self.depthwise
        x = F.pad(x, (kernel.weight.shape[2] - 1, 0))
        x = F.conv1d(x, kernel.weight, kernel.bias, groups=x.shape[1])
        return self.out(self.act(self.pointwise(x.transpose(1, 2).flatten(0, 1))))


class Block(nn.Module):
    """Half a feed-forward, attention, convolution, the other half, and a norm."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.feed_forward_in, self.feed_forward_out = FeedForward(cfg), FeedForward(cfg)
        self.self_attn, self.conv = Attention(cfg), Convolution(cfg)
        self.layer_norm_att = LayerNorm(cfg.hidden_size, 1e-5)
        self.layer_norm = LayerNorm(cfg.hidden_size, 1e-5)

    def forward(self, x: Tensor, count: int, bias: Tensor) -> Tensor:
        """x [N * T, D] of N spans, bias [H, T, T] -> [N * T, D]."""
        x = x + 0.5 * self.feed_forward_in(x)
        x = x + self.self_attn(self.layer_norm_att(x), count, bias)
        x = x + self.conv(x, count)
        return self.layer_norm(x + 0.5 * self.feed_forward_out(x))


class Conformer(nn.Module):
    """Log filter banks -> states, one for each `time_reduction` frames."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.encoder_embedding, self.embed = Norm(cfg.input_size), Subsampling(cfg)
        self.furthest, self.symmetric = cfg.bias_max_distance, cfg.bias_symmetric
        distances = self.furthest * (1 if self.symmetric else 2)
        self.bias_values = Table(distances, cfg.num_attention_heads)
        self.encoders = nn.ModuleList(Block(cfg) for _ in range(cfg.num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """x [T, bands] -> [ceil(T / time_reduction), D]."""
        x = self.embed(self.encoder_embedding(x))
        length, count = len(x), -(-len(x) // SPAN)
        if count > 1:
            x = F.pad(x, (0, 0, 0, count * SPAN - length))  # and seen, as in training
        bias = self.bias(len(x) // count)
        for block in self.encoders:
            x = block(x, count, bias)
        return x[:length]

    def bias(self, length: int) -> Tensor:
        """[H, T, T]: what each head adds for the distance of two states."""
        at = torch.arange(length, device=self.bias_values.weight.device)
        away = (at - at[:, None]).clamp(-self.furthest, self.furthest - 1)
        index = away.abs() if self.symmetric else away + self.furthest
        return self.bias_values.weight[index].permute(2, 0, 1)
