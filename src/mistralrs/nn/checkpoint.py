"""Tensors not read yet, and rules that turn a checkpoint's names into an architecture's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from mistralrs.api.errors import CheckpointError
from mistralrs.quant.weight import Weight


@dataclass(frozen=True)
class Lazy:
    """A tensor that is read on `load()`; its shape and dtype are known before."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    file: str = field(default="", kw_only=True, compare=False)  # where it is, for messages
    drop: Callable[[], None] | None = field(default=None, kw_only=True, compare=False)

    @classmethod
    def of(cls, tensor: Tensor, file: str = "") -> Lazy:
        """A tensor at hand, as a lazy one."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor, file=file)

    def like(
        self, shape: Sequence[int], read: Callable[[], Tensor], dtype: torch.dtype | None = None
    ) -> Lazy:
        """A tensor made from this one."""
        return Lazy(tuple(shape), dtype or self.dtype, read, file=self.file, drop=self.drop)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def load(self) -> Tensor:
        """The tensor, a view of the mapped file wherever possible. Never write to it."""
        tensor = self.read()
        assert tuple(tensor.shape) == self.shape, (tuple(tensor.shape), self.shape)
        assert tensor.dtype == self.dtype, (tensor.dtype, self.dtype)
        return tensor

    def release(self) -> None:
        """Give back the memory of a mapped file that reading took; whatever still uses it is read anew."""
        if self.drop:
            self.drop()

    def __getitem__(self, rows: slice) -> Lazy:
        """Rows [N, ...] -> [n, ...] of a slice with step 1."""
        start, stop, step = rows.indices(self.shape[0])
        assert step == 1, "slices of a lazy tensor have step 1"
        return self.narrow(0, start, max(stop - start, 0))

    def narrow(self, dim: int, start: int, length: int) -> Lazy:
        """`length` entries of one dimension, beginning at `start`."""
        dim %= len(self.shape)
        shape = (*self.shape[:dim], length, *self.shape[dim + 1 :])
        return self.like(shape, lambda: self.load().narrow(dim, start, length))

    def split(self, sizes: Sequence[int], dim: int = 0) -> tuple[Lazy, ...]:
        """Consecutive parts of one dimension; CheckpointError when the sizes do not add up."""
        if sum(sizes) != self.shape[dim]:
            raise CheckpointError(
                f"a tensor of shape {list(self.shape)} cannot be split into {list(sizes)} along "
                f"dimension {dim}: the sizes in config.json do not fit this checkpoint"
            )
        starts = accumulate(sizes, initial=0)
        return tuple(
            self.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False)
        )

    def transpose(self, first: int = -2, second: int = -1) -> Lazy:
        """Two dimensions swapped; the loaded tensor is a strided view."""
        shape = list(self.shape)
        shape[first], shape[second] = shape[second], shape[first]
        return self.like(shape, lambda: self.load().transpose(first, second))

    def reshape(self, *shape: int) -> Lazy:
        """The same elements in another shape, without -1."""
        assert prod(shape) == prod(self.shape), (shape, self.shape)
        return self.like(shape, lambda: self.load().reshape(shape))

    def map(
        self,
        fn: Callable[[Tensor], Tensor],
        shape: Sequence[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> Lazy:
        """`fn` of the tensor; name the shape and the dtype that it gives where they differ."""
        return self.like(self.shape if shape is None else shape, lambda: fn(self.load()), dtype)

    def rows(self, fn: Callable[[Tensor], Tensor], shape: Sequence[int] | None = None) -> Lazy:
        """`fn` of the tensor, where `fn` only moves whole rows (the last dimension)."""
        return self.map(fn, shape)

    @staticmethod
    def stack(items: Sequence[Lazy]) -> Lazy:
        """E tensors of one shape [...] -> [E, ...]."""
        return Lazy.cat([item.reshape(1, *item.shape) for item in items])

    @staticmethod
    def cat(items: Sequence[Lazy], dim: int = 0) -> Lazy:
        """Tensors joined along one dimension, copied one at a time into the result."""
        first = items[0]
        dim %= len(first.shape)
        packed = [item for item in items if isinstance(item, Packed)]
        if dim == 0 and len(packed) == len(items) and len({item.kin for item in packed}) == 1:
            return packed[0].again(Lazy.cat([item.raw for item in packed]))
        sizes = [item.shape[dim] for item in items]
        for item in items:
            if item.dtype != first.dtype or _without(item.shape, dim) != _without(first.shape, dim):
                raise CheckpointError(
                    f"cannot join {item.dtype} {list(item.shape)} to {first.dtype} "
                    f"{list(first.shape)}: the checkpoint's tensors do not fit together"
                )

        def read() -> Tensor:
            out = torch.empty(shape, dtype=first.dtype)
            for part, item in zip(out.split(sizes, dim), items, strict=True):
                part.copy_(item.load())
                item.release()
            return out

        shape = (*first.shape[:dim], sum(sizes), *first.shape[dim + 1 :])
        return first.like(shape, read)


@dataclass(frozen=True)
class Packed(Lazy):
    """A quantized matrix: `weight` keeps it as it is stored, `load` decodes it.

    What moves whole rows (parts of the leading dimensions, joining one format, `rows`) stays packed; every
    other operation gives the decoded tensor.
    """

    raw: Lazy  # uint8 [..., bytes of a row]
    make: Callable[[Tensor], Weight]
    format: str

    @classmethod
    def over(
        cls,
        raw: Lazy,
        width: int,
        make: Callable[[Tensor], Weight],
        format: str,
        dtype: torch.dtype = torch.float32,
    ) -> Packed:
        """A matrix of `width` values in a row over its stored rows, decoded to `dtype` where it must be."""
        shape = (*raw.shape[:-1], width)

        def read() -> Tensor:
            return make(raw.load()).dequantize().to(dtype)

        return cls(shape, dtype, read, raw, make, format, file=raw.file, drop=raw.drop)

    @property
    def nbytes(self) -> int:
        """Size in bytes as stored."""
        return self.raw.nbytes

    @property
    def kin(self) -> tuple[str, tuple[int, ...]]:
        """What two matrices must share to be joined along the first dimension."""
        return self.format, self.shape[1:]

    def weight(self, device: torch.device) -> Weight:
        """The matrix in its format."""
        return self.make(self.raw.load().to(device))

    def again(self, raw: Lazy) -> Packed:
        """The same format over other rows."""
        return Packed.over(raw, self.shape[-1], self.make, self.format, self.dtype)

    def narrow(self, dim: int, start: int, length: int) -> Lazy:
        """`length` entries of one dimension, beginning at `start`."""
        if dim % len(self.shape) == len(self.shape) - 1:
            return super().narrow(dim, start, length)
        return self.again(self.raw.narrow(dim % len(self.shape), start, length))

    def reshape(self, *shape: int) -> Lazy:
        """The same elements in another shape, without -1."""
        if shape[-1] != self.shape[-1]:
            return super().reshape(*shape)
        return self.again(self.raw.reshape(*shape[:-1], self.raw.shape[-1]))

    def rows(self, fn: Callable[[Tensor], Tensor], shape: Sequence[int] | None = None) -> Lazy:
        """`fn` of the stored rows."""
        leading = self.shape[:-1] if shape is None else shape[:-1]
        return self.again(self.raw.map(fn, (*leading, self.raw.shape[-1])))


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]


Tensors = dict[str, Lazy]


def rename(tensors: Mapping[str, Lazy], rules: Mapping[str, str]) -> Tensors:
    """Names after `re.sub` of each `{expression: replacement}` in turn; no two may be equal."""
    out: Tensors = {}
    for old, tensor in tensors.items():
        new = old
        for pattern, replacement in rules.items():
            new = re.sub(pattern, replacement, new)
        if new in out:
            raise CheckpointError(
                f"two tensors of the checkpoint are both '{new}' (the second is '{old}')"
            )
        out[new] = tensor
    return out


def drop(tensors: Mapping[str, Lazy], *patterns: str) -> Tensors:
    """Everything but the names in which one of the regular expressions is found."""
    return {name: t for name, t in tensors.items() if not any(re.search(p, name) for p in patterns)}


def split(
    tensors: Mapping[str, Lazy], rules: Mapping[str, Mapping[str, int]], dim: int = 0
) -> Tensors:
    """Fused matrices and biases as their parts: `{"qkv_proj": {"q_proj": rows, ...}}`.

    A key is one or more whole components of the dotted name. What reads the input of a fused matrix, the first half of
    an adapter, is the same for all parts.
    """
    out: Tensors = {}
    for name, tensor in tensors.items():
        fused = next((key for key in rules if f".{key}." in f".{name}."), None)
        if fused is None:
            out[name] = tensor
            continue
        sizes = list(rules[fused].values())
        shared = name.endswith(".lora_A")
        pieces = [tensor] * len(sizes) if shared else tensor.split(sizes, dim)
        for part, piece in zip(rules[fused], pieces, strict=True):
            out[f".{name}.".replace(f".{fused}.", f".{part}.").strip(".")] = piece
    return out


def stack(tensors: Mapping[str, Lazy], rules: Mapping[str, str]) -> Tensors:
    """Numbered tensors [N, K] as stacks [E, N, K]: `{"experts.{}.w1": "experts.gate_proj"}`.

    `{}` stands for the number; a key is one or more whole components of the dotted name.
    Raises CheckpointError when a number is missing.
    """
    patterns = {re.escape(key).replace(r"\{\}", r"(\d+)"): new for key, new in rules.items()}
    out: Tensors = {}
    groups: dict[str, dict[int, Lazy]] = {}
    for name, tensor in tensors.items():
        for pattern, new in patterns.items():
            if found := re.search(rf"(?<![^.]){pattern}(?![^.])", name):
                stacked = name[: found.start()] + new + name[found.end() :]
                groups.setdefault(stacked, {})[int(found[1])] = tensor
                break
        else:
            out[name] = tensor
    return out | {name: _in_order(name, group) for name, group in groups.items()}


def _in_order(name: str, group: Mapping[int, Lazy]) -> Lazy:
    missing = sorted(set(range(max(group) + 1)) - set(group))
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {', '.join(map(str, missing))} of '{name}': download again"
        )
    return Lazy.stack([group[number] for number in sorted(group)])
