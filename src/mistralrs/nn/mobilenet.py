"""MobileNet-V5, the eyes of Gemma 3n: inverted residuals and attention with one key head, on grids of features.

A grid is [H, W, C]. The blocks are those of arXiv 2404.10518; parameters have the names that timm gave them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.norm import RMSNorm
from mistralrs.nn.vision import ACTS, attend

EPS = 1e-6
act = ACTS["gelu_pytorch_tanh"]


def points(x: Tensor, matrix: nn.Module) -> Tensor:
    """A matrix at every point: [H, W, C] -> [H, W, N]."""
    return matrix(x.reshape(-1, x.shape[-1])).unflatten(0, x.shape[:2])


class Conv(nn.Module):
    """A convolution [H, W, C] -> [H / stride, W / stride, N]; odd margins are larger below and on the right."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.weight = empty(outputs, inputs // groups, size, size)
        self.bias: Tensor | None
        self.register_parameter("bias", empty(outputs) if bias else None)
        self.size, self.stride, self.groups = size, stride, groups

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [H / stride, W / stride, N]."""
        margins: list[int] = []
        for side in (x.shape[1], x.shape[0]):
            wanted = (-(-side // self.stride) - 1) * self.stride + self.size
            margin = max(wanted - side, 0)
            margins += [margin // 2, margin - margin // 2]
        grid = F.pad(x.permute(2, 0, 1)[None], margins)
        y = F.conv2d(grid, self.weight, self.bias, self.stride, groups=self.groups)
        return y[0].permute(1, 2, 0).contiguous()


class Spread(nn.Module):
    """norm(convolution), perhaps activated."""

    def __init__(self, conv: Conv, width: int, active: bool):
        super().__init__()
        self.conv, self.bn, self.active = conv, RMSNorm(width, EPS), active

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [h, w, N]."""
        y = self.bn(self.conv(x))
        return act(y) if self.active else y


class Point(nn.Module):
    """norm(matrix) at every point, perhaps activated."""

    def __init__(self, inputs: int, outputs: int, active: bool):
        super().__init__()
        self.conv, self.bn, self.active = Linear(inputs, outputs), RMSNorm(outputs, EPS), active

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [H, W, N]."""
        y = self.bn(points(x, self.conv))
        return act(y) if self.active else y


class Scale(nn.Module):
    """A factor for each feature."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = empty(width)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] -> [..., C]."""
        return x * self.gamma


def even(width: float) -> int:
    """The nearest multiple of 8 that is not much smaller."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


class Edge(nn.Module):
    """Expand by a convolution, project: the first blocks, of few features and many points."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int):
        super().__init__()
        wide = even(inputs * expand)
        self.conv_exp, self.bn1 = Conv(inputs, wide, 3, stride), RMSNorm(wide, EPS)
        self.conv_pwl, self.bn2 = Linear(wide, outputs), RMSNorm(outputs, EPS)
        self.skips = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [h, w, N]."""
        y = self.bn2(points(act(self.bn1(self.conv_exp(x))), self.conv_pwl))
        return x + y if self.skips else y


class Inverted(nn.Module):
    """Look around in each feature, expand, look around, project; sizes of 0 leave the looking out."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expand: int,
        start: int,
        middle: int,
        stride: int,
        scaled: bool = True,
    ):
        super().__init__()
        wide = even(inputs * expand)
        first = Conv(inputs, inputs, start, 1 if middle else stride, inputs) if start else None
        second = Conv(wide, wide, middle, stride, wide) if middle else None
        self.dw_start = Spread(first, inputs, False) if first else nn.Identity()
        self.pw_exp = Point(inputs, wide, True)
        self.dw_mid = Spread(second, wide, True) if second else nn.Identity()
        self.pw_proj = Point(wide, outputs, False)
        self.layer_scale = Scale(outputs) if scaled else nn.Identity()
        self.skips = scaled and inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [h, w, N]."""
        y = self.pw_proj(self.dw_mid(self.pw_exp(self.dw_start(x))))
        y = self.layer_scale(y)
        return x + y if self.skips else y


class Side(nn.Module):
    """Queries, keys, values or the output of attention: perhaps at fewer points, then a matrix."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.down_conv = Conv(inputs, inputs, 3, stride, inputs) if stride > 1 else None
        self.norm = RMSNorm(inputs, EPS) if stride > 1 else None
        self.proj = Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [h * w, N]."""
        if self.down_conv is not None and self.norm is not None:
            x = self.norm(self.down_conv(x))
        return self.proj(x.reshape(-1, x.shape[-1]))


class MultiQuery(nn.Module):
    """Attention of all points; the heads share one head of keys and values, of every `stride`-th point."""

    def __init__(self, width: int, heads: int, dim: int, stride: int):
        super().__init__()
        self.query, self.output = Side(width, heads * dim), Side(heads * dim, width)
        self.key, self.value = Side(width, dim, stride), Side(width, dim, stride)
        self.heads, self.dim = heads, dim

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [H, W, C]."""
        q = self.query(x).unflatten(1, (self.heads, self.dim))
        k, v = (side(x)[:, None].expand(-1, self.heads, -1) for side in (self.key, self.value))
        return self.output(attend(q, k, v).unflatten(0, x.shape[:2])).unflatten(0, x.shape[:2])


class Attending(nn.Module):
    """x + attention(norm(x)) * scale."""

    def __init__(self, width: int, heads: int, dim: int, stride: int):
        super().__init__()
        self.norm, self.attn = RMSNorm(width, EPS), MultiQuery(width, heads, dim, stride)
        self.layer_scale = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """x [H, W, C] -> [H, W, C]."""
        return x + self.layer_scale(self.attn(self.norm(x)))


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: (expand, start, middle) of the plain ones, the first with stride 2; then pairs of
    attention and an expanding block."""

    width: int
    plain: tuple[tuple[int, int, int], ...]
    pairs: int = 0
    heads: int = 0
    dim: int = 0
    stride: int = 1  # of keys

    def blocks(self, inputs: int, width: int) -> nn.ModuleList:
        """The blocks, from so many features to so many."""
        made: list[nn.Module] = []
        for index, shape in enumerate(self.plain):
            made.append(Inverted(width if index else inputs, width, *shape, 1 if index else 2))
        for _ in range(self.pairs):
            made.append(Attending(width, self.heads, self.dim, self.stride))
            made.append(Inverted(width, width, 2, 0, 0, 1))
        return nn.ModuleList(made)


STEM, EDGE, OUT = 64, 128, 2048
STAGES = (  # mobilenetv5_300m_enc
    Stage(256, ((6, 3, 5), (4, 5, 0), (4, 3, 0), (4, 5, 0), (4, 3, 0))),
    Stage(640, ((6, 5, 5), *[(4, 5, 0)] * 7, (1, 0, 0)), 14, 12, 64, 2),
    Stage(1280, ((6, 5, 5),), 19, 16, 96),
)
MATRICES = tuple(  # kernels of one point
    f"{name}.weight"
    for name in (
        "conv_pwl", "pw_exp.conv", "pw_proj.conv", "query.proj", "key.proj", "value.proj", "output.proj",
    )
)  # fmt: skip


class Fusion(nn.Module):
    """The last two grids, the coarse one enlarged, as one of fewer points."""

    def __init__(self, inputs: int, side: int):
        super().__init__()
        self.ffn = Inverted(inputs, OUT, 2, 0, 0, 1, scaled=False)
        self.norm, self.side = RMSNorm(OUT, EPS), side

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Grids [H, W, C] and [h, w, c] -> [side * side, 2048]."""
        grown = coarse
        for axis in (0, 1):
            grown = grown.repeat_interleave(fine.shape[axis] // coarse.shape[axis], axis)
        y = self.ffn(torch.cat((fine, grown), -1)).permute(2, 0, 1)[None]
        y = F.avg_pool2d(y, (fine.shape[0] // self.side, fine.shape[1] // self.side))
        return self.norm(y[0].flatten(1).T.contiguous())


class MobileNet(nn.Module):
    """Pictures -> side * side rows of 2048 features. `multiplier` makes all widths smaller but the ends'."""

    def __init__(self, side: int, multiplier: float = 1.0):
        super().__init__()
        stem = STEM if multiplier < 1 else even(STEM * multiplier)
        edge = even(EDGE * multiplier)
        widths = [edge, *(even(stage.width * multiplier) for stage in STAGES)]
        self.conv_stem = Spread(Conv(3, stem, 3, 2, bias=True), stem, True)
        edges = [Edge(stem, edge, 4, 2), Edge(edge, edge, 4, 1), Edge(edge, edge, 4, 1)]
        rest: list[nn.ModuleList] = [
            stage.blocks(*pair)
            for stage, pair in zip(STAGES, zip(widths, widths[1:], strict=False), strict=True)
        ]
        self.blocks = nn.ModuleList(
            nn.Sequential(*list(blocks)) for blocks in [nn.ModuleList(edges), *rest]
        )
        self.msfa = Fusion(widths[-2] + widths[-1], side)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [3, H, W] -> [side * side, 2048], line by line."""
        x, grids = self.conv_stem(pixels.permute(1, 2, 0).contiguous()), []
        for stage in self.blocks:
            x = stage(x)
            grids.append(x)
        return self.msfa(*grids[-2:])
