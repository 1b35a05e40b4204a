"""Integer weights of ggml's affine types, packed for the CPU kernels without loss."""

from typing import ClassVar

import torch
from torch import Tensor

from mistralrs.kernels import affine as kernel
from mistralrs.kernels.affine import Tiles
from mistralrs.quant import mxfp4
from mistralrs.quant.ggml import GgmlWeight
from mistralrs.quant.ggml_kind import Kind
from mistralrs.quant.weight import Weight


class Affine(Weight):
    """A matrix [N, K] or a stack [E, N, K] of one of the types in `kernels.affine.FORMATS`."""

    name: ClassVar[str] = "affine"

    def __init__(self, kind: Kind, tiles: Tiles):
        self.kind, self.tiles, self.format = kind, tiles, kind.name
        self.shape, self.nbytes = tiles.shape, tiles.data.nbytes
        self.bits = 8 * self.nbytes / max(1, torch.Size(self.shape).numel())

    @classmethod
    def pack(cls, kind: Kind, raw: Tensor) -> "Affine":
        """Blocks uint8 [..., N, bytes] as they lie in a file."""
        return cls(kind, kernel.pack(kind.code, raw))

    def raw(self) -> Tensor:
        """The blocks that were packed, byte for byte."""
        return kernel.unpack(self.tiles)

    def dequantize(self) -> Tensor:
        """The matrix as float32, bit for bit what ggml computes."""
        matrices = [kernel.dequantize(self.tiles, i) for i in range(len(self.tiles.data))]
        return matrices[0] if len(self.shape) == 2 else torch.stack(matrices)

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] in x's dtype."""
        return kernel.affine(x, self.tiles, bias)

    def product(self, x: Tensor, index: int) -> Tensor:
        """x [M, K] times one matrix of a stack -> [M, N] in x's dtype."""
        return kernel.affine(x, self.tiles, None, index)

    def gather(self, x: Tensor, ids: Tensor) -> Tensor:
        """x [M, K] -> [M, N]: row m times matrix `ids[m]` of a stack, in x's dtype."""
        return kernel.gather(x, self.tiles, ids)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of an embedding table: ids [T] -> [T, K]; only these rows are read."""
        return kernel.dequantize(self.tiles, ids=ids).to(dtype)


def packed(weight: Weight) -> Weight:
    """Blocks of a file on a CPU in the form of their kernels, where there are such; any other weight as it is."""
    if isinstance(weight, GgmlWeight) and weight.raw.is_cpu and kernel.packs(weight.kind.code):
        return Affine.pack(weight.kind, weight.raw)
    if isinstance(weight, GgmlWeight) and weight.kind.name == "MXFP4":
        return mxfp4.of_ggml(weight.raw)
    return weight
