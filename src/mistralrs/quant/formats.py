"""What a matrix of floats can be quantized to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from mistralrs.kernels.affine import FORMATS as GGML
from mistralrs.quant import afq, bytes8, fp8, ggml_quantize, hqq, mxfp4
from mistralrs.quant.ggml import KINDS
from mistralrs.quant.weight import Weight


@dataclass(frozen=True)
class Format:
    """One type: `block` divides the rows it takes, `bits` is what a weight takes in memory, scales included."""

    name: str
    block: int
    bits: float
    quantize: Callable[[Tensor], Weight]  # floats [N, K] or [E, N, K]


TILED = {"Q2_K": 3.125, "Q3_K": 3.5625, "Q4_K": 4.625, "Q5_K": 5.625}  # scales have whole bytes


def ggml(code: int, name: str | None = None) -> Format:
    """A type of ggml, packed in tiles."""
    kind = KINDS[code]
    bits = TILED.get(kind.name, kind.bits)
    return Format(name or kind.name, kind.block, bits, partial(ggml_quantize.packed, kind))


FORMATS = {
    format.name: format
    for format in (
        *(ggml(code) for code in GGML),
        ggml(8, "Q8_1"),  # the numbers of Q8_0: what it has more serves ggml's products
        Format("Q8_K", 256, 8.125, bytes8.q8_k),
        *(
            Format(f"HQQ{bits}", 64, bits + 0.5, partial(hqq.quantize, bits=bits))
            for bits in (4, 8)
        ),
        *(
            Format(f"AFQ{bits}", 64, bits + 0.5, partial(afq.quantize, bits=bits))
            for bits in (2, 3, 4, 6, 8)
        ),
        Format("FP8", 32, 8, fp8.quantize),
        Format("F8Q8", 32, 8.25, bytes8.f8q8),
        Format("MXFP4", 32, 4.25, mxfp4.quantize),
    )
}
