"""The ears of Gemma 3n and Gemma 4: Google's Universal Speech Model, a conformer (arXiv 2303.01037).

Silence that fills up a batch never reaches the layers, so they need no masks: every state sees the `past` ones before
it, by their distance, and the `future` ones behind it. Parameters have the names of Gemma 4.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import ACTS


@dataclass(frozen=True)
class Shape:
    """What the two families say of their conformer."""

    width: int
    layers: int
    heads: int
    taps: int  # of the convolution in a layer
    past: int  # states that one sees before itself
    future: int
    farthest: int  # the distance that the first relative position stands for
    cap: float  # of scores
    keys: float  # factor of keys
    share: float  # of each feed-forward half
    eps: float
    bound: float  # of states
    act: str = "silu"
    matrix: type[Linear] = Linear


def bounded(x: Tensor, bound: float) -> Tensor:
    """x within a bound that its dtype may not reach."""
    bound = min(bound, torch.finfo(x.dtype).max)
    return x.clamp(-bound, bound)


class FeedForward(nn.Module):
    """x + norm(down(act(up(norm(x))))) * share."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.ffw_layer_1 = shape.matrix(shape.width, shape.width * 4)
        self.ffw_layer_2 = shape.matrix(shape.width * 4, shape.width)
        self.pre_layer_norm, self.post_layer_norm = RMSNorm(shape.width), RMSNorm(shape.width)
        self.act, self.share, self.bound = ACTS[shape.act], shape.share, shape.bound

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T, V]."""
        y = self.pre_layer_norm(bounded(x, self.bound))
        y = self.ffw_layer_2(self.act(self.ffw_layer_1(y)))
        return x + self.post_layer_norm(bounded(y, self.bound)) * self.share


class Attention(nn.Module):
    """Attention to near states, with scores of content and of distance (arXiv 1901.02860), capped."""

    def __init__(self, shape: Shape):
        super().__init__()
        dim, self.shape = shape.width, shape
        self.q_proj, self.k_proj, self.v_proj, self.post = (shape.matrix(dim, dim) for _ in "qkvo")
        self.relative_k_proj = Linear(dim, dim)
        self.head_dim = dim // shape.heads
        self.per_dim_scale = empty(self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T, V]."""
        q, k, v = (
            p(x).float().unflatten(1, (self.shape.heads, -1))
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q = q * (self.head_dim**-0.5 / math.log(2)) * F.softplus(self.per_dim_scale.float())
        k, v = self.near(k * self.shape.keys), self.near(v)  # [T, H, d, F]
        scores = self.scores(q, k, x)
        weights = scores.masked_fill(~self.seen(len(x), x.device)[:, None], -1e9).softmax(-1)
        return self.post((v @ weights[..., None]).squeeze(-1).flatten(1).to(x))

    def scores(self, q: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """q [T, H, d] against its near keys k [T, H, d, F] -> [T, H, F]."""
        content = (q[:, :, None] @ k).squeeze(2)
        distance = torch.einsum("thd,fhd->thf", q, self.distances(x))
        return torch.tanh((content + distance) / self.shape.cap) * self.shape.cap

    def near(self, x: Tensor) -> Tensor:
        """x [T, H, d] -> [T, H, d, F]: for every state those that it may see."""
        past, future = self.shape.past, self.shape.future
        return F.pad(x, (0, 0, 0, 0, past, future)).unfold(0, past + future + 1, 1)

    def seen(self, count: int, device: torch.device) -> Tensor:
        """[T, F]: which of them there are."""
        at = torch.arange(count, device=device)[:, None] - self.shape.past
        at = at + torch.arange(self.shape.past + self.shape.future + 1, device=device)
        return (at >= 0) & (at < count)

    def distances(self, x: Tensor) -> Tensor:
        """Keys [F, H, d] of the distances, from the farthest on."""
        half = self.shape.width // 2
        count = self.shape.past + self.shape.future + 1
        at = self.shape.farthest - torch.arange(count, device=x.device)[:, None].float()
        step = math.log(1e4) / max(half - 1, 1)
        angles = at * torch.exp(torch.arange(half, device=x.device) * -step)
        waves = torch.cat((angles.sin(), angles.cos()), 1).to(x)
        return self.relative_k_proj(waves).float().unflatten(1, (self.shape.heads, -1))


class Convolution(nn.Module):
    """x + end(act(norm(convolution(gated(start(norm(x))))))), of each state and those before it."""

    def __init__(self, shape: Shape):
        super().__init__()
        dim, self.taps, self.bound = shape.width, shape.taps, shape.bound
        self.linear_start, self.linear_end = shape.matrix(dim, dim * 2), shape.matrix(dim, dim)
        self.depthwise_conv1d = Taps(dim, shape.taps)
        self.pre_layer_norm, self.conv_norm = RMSNorm(dim, shape.eps), RMSNorm(dim, shape.eps)
        self.act = ACTS[shape.act]

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T, V]."""
        y = F.glu(self.linear_start(self.pre_layer_norm(x)), -1)
        y = bounded(self.depthwise_conv1d(y), self.bound)
        return x + self.linear_end(self.act(self.conv_norm(y)))


class Taps(nn.Module):
    """A causal convolution of each feature."""

    def __init__(self, width: int, taps: int):
        super().__init__()
        self.weight = empty(width, 1, taps)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T, V]."""
        y = F.pad(x.T[None], (self.weight.shape[2] - 1, 0))
        return F.conv1d(y, self.weight, groups=len(self.weight))[0].T.contiguous()


class Layer(nn.Module):
    """Half a feed-forward block, attention, convolution, the other half."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.feed_forward1, self.feed_forward2 = FeedForward(shape), FeedForward(shape)
        self.self_attn, self.lconv1d = Attention(shape), Convolution(shape)
        norm = partial(RMSNorm, shape.width)
        self.norm_pre_attn, self.norm_post_attn, self.norm_out = norm(), norm(), norm()
        self.bound = shape.bound

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T, V]."""
        x = self.feed_forward1(x)
        y = self.self_attn(self.norm_pre_attn(bounded(x, self.bound)))
        x = x + self.norm_post_attn(bounded(y, self.bound))
        x = self.feed_forward2(self.lconv1d(x))
        return self.norm_out(bounded(x, self.bound))


class Halving(nn.Module):
    """A convolution of 3 x 3 that leaves every second frame and every second band; its norm depends on the family."""

    def __init__(
        self, inputs: int, outputs: int, norm: nn.Module, margins: tuple[int, int, int, int]
    ):
        super().__init__()
        self.conv, self.norm, self.margins = Kernel(inputs, outputs), norm, margins

    def forward(self, x: Tensor) -> Tensor:
        """x [C, T, B] -> [N, T / 2, B / 2]."""
        y = F.conv2d(F.pad(x[None], self.margins), self.conv.weight, stride=2)[0]
        return F.relu(self.norm(y.permute(1, 2, 0))).permute(2, 0, 1)


class Kernel(nn.Module):
    """A kernel of 3 x 3."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = empty(outputs, inputs, 3, 3)


class Running(nn.Module):
    """By the mean and the deviation of all frames so far (a cumulative group norm with one group)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = empty(width), eps

    def forward(self, x: Tensor) -> Tensor:
        """x [T, B, C] -> [T, B, C]."""
        y = x.float()
        count = torch.arange(1, len(y) + 1, device=y.device) * y[0].numel()
        mean = (y.sum((1, 2)).cumsum(0) / count)[:, None, None]
        spread = ((y - mean) ** 2).sum((1, 2)).cumsum(0) / count
        return (
            (y - mean) * torch.rsqrt(spread + self.eps)[:, None, None] * self.weight.float()
        ).to(x)


class Subsample(nn.Module):
    """Spectrogram [T, B] -> states [T / 4, V]."""

    def __init__(self, layers: tuple[Halving, Halving], bands: int, width: int):
        super().__init__()
        self.layer0, self.layer1 = layers
        channels = layers[1].conv.weight.shape[0]
        self.input_proj_linear = Linear(-(-bands // 4) * channels, width)

    def forward(self, mel: Tensor) -> Tensor:
        """mel [T, B] -> [T / 4, V]."""
        x = self.layer1(self.layer0(mel[None]))
        return self.input_proj_linear(x.permute(1, 2, 0).flatten(1))


class Conformer(nn.Module):
    """Spectrograms -> states."""

    def __init__(self, shape: Shape, subsample: Subsample):
        super().__init__()
        self.subsample_conv_projection = subsample
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, mel: Tensor, states: int) -> Tensor:
        """mel [T, B], of whose states the first are no silence -> [states, V]."""
        x = self.subsample_conv_projection(mel)[:states]
        for layer in self.layers:
            x = layer(x)
        return x
