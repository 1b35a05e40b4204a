"""A list of CPU kernels that one native call runs in order, with the results that calling them one by one gives.

There is no reference: who makes a plan keeps the operations it stands for, and runs them where `ready` is False.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mistralrs.kernels import native
from mistralrs.kernels.affine import Tiles
from mistralrs.kernels.attention import Ragged, index, side
from mistralrs.kernels.glu import NUMBERS

INPUT = -1  # the place of the tensor that a run reads and writes
OUTPUT = -2  # the place of the tensor that it only writes


class Angles(NamedTuple):
    """cos and sin of one kind of rope, float32: of every position [N, R / 2], or of the tokens of a step [T, R / 2]."""

    cos: Tensor
    sin: Tensor
    every: bool = False


class Step(Ragged, Protocol):
    """What a run reads of a batch beside what attention reads; int64 on the host."""

    @property
    def tokens(self) -> Tensor: ...  # [T]
    @property
    def positions(self) -> Tensor: ...  # [T]
    @property
    def outputs(self) -> Tensor: ...  # [R] rows that are wanted


class Unsuited(Exception):
    """The kernels do not take this; the caller keeps its own way."""


@dataclass
class Room:
    """Hands out places for the rows of values, as bytes per row behind the start of the buffers."""

    next: int = 0

    def take(self, width: int) -> int:
        """The place of float32 [T, width]."""
        return self.bytes(4 * width)

    def bytes(self, size: int) -> int:
        """The place of uint8 [T, size]; every place begins a cache line."""
        place, self.next = self.next, self.next + -(-size // 64) * 64
        return place


@dataclass
class Plan:
    """Calls of kernels; x, y and the like are places, INPUT or from a Room."""

    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)  # whose addresses the calls have
    size: int = 0  # bytes of buffers, for a row
    native: Any = None

    def call(self, name: str, *arguments: Any) -> None:
        """Add a call of the compiled Plan, in which a tensor stands for its address."""
        self.kept += [a for a in arguments if isinstance(a, Tensor)]
        plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        self.calls.append((name, tuple(0 if a is None else a for a in plain)))

    def embed(self, table: Tensor) -> None:
        """INPUT = the rows of a table [V, D] that the tokens name."""
        if not table.is_contiguous():
            raise Unsuited
        self.call("embed", table, kind(table), *table.shape)

    def embed_packed(self, table: Tiles) -> None:
        """The same from packed rows."""
        self.call("embed_packed", table.format, table.data, *table.size)

    def select(self, y: int, width: int) -> None:
        """y = the wanted rows of INPUT [T, width] -> [R, width]; from here on there are no others."""
        self.call("select", y, width)

    def norm(
        self,
        x: int,
        y: int,
        weight: Tensor,
        bias: Tensor | None,
        heads: int,
        eps: float,
        offset: float = 0.0,
        centered: bool = False,
    ) -> None:
        """`kernels.norm` of x [T, heads, D] over D."""
        if bias is not None and bias.dtype is not weight.dtype:
            raise Unsuited
        self.call(
            "norm", centered, x, y, weight, bias, kind(weight), heads, len(weight), eps, offset
        )

    def linear(self, x: int, y: int, w: Tensor, bias: Tensor | None) -> None:
        """`kernels.linear`."""
        if not w.is_contiguous():
            raise Unsuited
        self.call("linear", x, y, w, bias, kind(w), 0 if bias is None else kind(bias), *w.shape)

    def rows(self, x: int, y: int, inner: int) -> None:
        """Quantize x [T, inner] for `affine`."""
        self.call("rows", x, y, inner)

    def affine(self, x: int, y: int, w: Tiles, bias: Tensor | None) -> None:
        """`kernels.affine` of rows that are quantized."""
        bias = None if bias is None else bias.float().contiguous()
        self.call("affine", w.format, x, y, w.data, bias, *w.size)

    def rope(
        self, x: int, y: int, angles: int, heads: int, width: int, half: int, interleaved: bool
    ) -> None:
        """`kernels.rope` of x [T, heads, width] by the angles of that number, [T, half]."""
        self.call("rope", x, y, angles, heads, width, half, interleaved)

    def glu(self, gate: int, up: int, y: int, width: int, act: str) -> None:
        """`kernels.glu`; y may be the place of an input."""
        self.call("glu", gate, up, y, width, NUMBERS[act])

    def attend(
        self, q: int, k: int, v: int, y: int, heads: int, cache: tuple[Tensor, Tensor], rule: "Rule"
    ) -> None:
        """`kernels.attention.write` and `kernels.attention.attention`."""
        k_pages, v_pages = cache
        for pages in cache:
            kind(pages)
        self.kept += cache
        groups, page = k_pages.shape[1:3]
        self.call("write", k, v, side(k_pages), side(v_pages), page, groups)
        sinks = None if rule.sinks is None else rule.sinks.float().contiguous()
        self.call(
            "attention", q, y, side(k_pages), side(v_pages), page, sinks, heads, groups,
            rule.window or 0, rule.scale, rule.softcap or 0.0, rule.causal,
        )  # fmt: skip

    def add(self, x: int, y: int, width: int) -> None:
        """x += y, both [T, width]."""
        self.call("add", x, y, width)

    def extend(self, other: "Plan") -> None:
        """Append another plan; both use the same buffers."""
        self.calls += other.calls
        self.kept += other.kept
        self.size = max(self.size, other.size)

    def finish(self) -> None:
        """Hand the calls to the compiled module."""
        assert native.compiled is not None
        self.native = native.compiled.Plan(self.size)
        for name, arguments in self.calls:
            getattr(self.native, name)(*arguments)

    def run(self, x: Tensor, y: Tensor | None, step: Step, angles: Sequence[Angles]) -> None:
        """Run all calls: INPUT is x float32 [T, D], OUTPUT is y float32 [R, V]."""
        columns = step.tokens, step.positions, step.outputs
        turns = [
            (cos.data_ptr(), sin.data_ptr(), cos.shape[1], len(cos) if every else 0)
            for cos, sin, every in angles
        ]
        self.native.run(
            x.data_ptr(), native.address(y), (*(c.data_ptr() for c in columns), len(x), len(step.outputs)),
            index(step, 0), turns,
        )  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """The keywords of `kernels.attention.attention`."""

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    causal: bool = True


def kind(x: Tensor) -> int:
    """The type of weights or of a cache, as cpu/table.h numbers it."""
    if not x.is_cpu or x.dtype not in native.TYPES:
        raise Unsuited
    return native.TYPES[x.dtype]


def ready(step: Step, dtype: torch.dtype) -> bool:
    """True where plans run on activations of this dtype."""
    return native.ops is not None and dtype is torch.float32 and step.tokens.is_cpu
