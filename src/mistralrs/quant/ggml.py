"""Weights as they lie in GGUF files: blocks of any ggml type."""

from typing import ClassVar

import torch
from torch import Tensor

from mistralrs.kernels.linear import linear
from mistralrs.quant import ggml_blocks as blocks
from mistralrs.quant import ggml_lattice as lattice
from mistralrs.quant import ggml_super as super_blocks
from mistralrs.quant.ggml_kind import Kind
from mistralrs.quant.weight import Weight

KINDS = {
    kind.code: kind
    for kind in (
        Kind("Q4_0", 2, 32, 18, blocks.q4_0),
        Kind("Q4_1", 3, 32, 20, blocks.q4_1),
        Kind("Q5_0", 6, 32, 22, blocks.q5_0),
        Kind("Q5_1", 7, 32, 24, blocks.q5_1),
        Kind("Q8_0", 8, 32, 34, blocks.q8_0),
        Kind("Q8_1", 9, 32, 36, blocks.q8_1),
        Kind("Q2_K", 10, 256, 84, super_blocks.q2_k),
        Kind("Q3_K", 11, 256, 110, super_blocks.q3_k),
        Kind("Q4_K", 12, 256, 144, super_blocks.q4_k),
        Kind("Q5_K", 13, 256, 176, super_blocks.q5_k),
        Kind("Q6_K", 14, 256, 210, super_blocks.q6_k),
        Kind("Q8_K", 15, 256, 292, blocks.q8_k),
        Kind("IQ2_XXS", 16, 256, 66, lattice.iq2_xxs),
        Kind("IQ2_XS", 17, 256, 74, lattice.iq2_xs),
        Kind("IQ3_XXS", 18, 256, 98, lattice.iq3_xxs),
        Kind("IQ1_S", 19, 256, 50, lattice.iq1_s),
        Kind("IQ4_NL", 20, 32, 18, blocks.iq4_nl),
        Kind("IQ3_S", 21, 256, 110, lattice.iq3_s),
        Kind("IQ2_S", 22, 256, 82, lattice.iq2_s),
        Kind("IQ4_XS", 23, 256, 136, blocks.iq4_xs),
        Kind("IQ1_M", 29, 256, 56, lattice.iq1_m),
        Kind("TQ1_0", 34, 256, 54, blocks.tq1_0),
        Kind("TQ2_0", 35, 256, 66, blocks.tq2_0),
        Kind("MXFP4", 39, 32, 17, blocks.mxfp4),
        Kind("NVFP4", 40, 64, 36, blocks.nvfp4),
    )
}
STRIPE = 4096  # rows that are float32 at one time in a product


class GgmlWeight(Weight):
    """Rows of blocks uint8 [N, bytes] or [E, N, bytes], as a rule a view of the mapped file."""

    name: ClassVar[str] = "ggml"

    def __init__(self, kind: Kind, raw: Tensor):
        self.kind, self.raw, self.format = kind, raw, kind.name
        self.shape = (*raw.shape[:-1], raw.shape[-1] // kind.size * kind.block)
        self.nbytes, self.bits = raw.nbytes, kind.bits

    def decode(self, raw: Tensor) -> Tensor:
        """Rows uint8 [..., bytes] -> float32 [..., K]."""
        return torch.from_numpy(self.kind.rows(raw.cpu().numpy())).to(raw.device)

    def dequantize(self) -> Tensor:
        """The matrix as float32."""
        return self.decode(self.raw)

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] in x's dtype."""
        y = self.stripes(x, self.raw)
        return y if bias is None else y + bias.to(y.dtype)

    def product(self, x: Tensor, index: int) -> Tensor:
        """x [M, K] times one matrix of a stack -> [M, N] in x's dtype."""
        return self.stripes(x, self.raw[index])

    def stripes(self, x: Tensor, raw: Tensor) -> Tensor:
        """x [T, K] times rows [N, bytes] -> [T, N], decoding some rows at a time."""
        parts = [linear(x, self.decode(rows).to(x.dtype)) for rows in raw.split(STRIPE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of an embedding table: ids [T] -> [T, K]; only these rows are read."""
        return self.decode(self.raw[ids]).to(dtype)
