"""The operations of models: each a reference in torch and faster backends behind one function."""

from mistralrs.kernels.attention import attention, write
from mistralrs.kernels.glu import glu
from mistralrs.kernels.linear import linear
from mistralrs.kernels.native import available, describe, use
from mistralrs.kernels.norm import layer_norm, rms_norm
from mistralrs.kernels.rope import rope

__all__ = [
    "attention",
    "available",
    "describe",
    "glu",
    "layer_norm",
    "linear",
    "rms_norm",
    "rope",
    "use",
    "write",
]
