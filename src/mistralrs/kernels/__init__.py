"""The operations that models are made of: each a reference in torch and faster backends behind one function."""

from mistralrs.kernels.linear import linear
from mistralrs.kernels.native import available, describe, use
from mistralrs.kernels.norm import layer_norm, rms_norm

__all__ = ["available", "describe", "layer_norm", "linear", "rms_norm", "use"]
