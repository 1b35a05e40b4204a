"""The operations of models, a module each: a reference in torch and faster backends of one function."""

from mistralrs.kernels.native import available, describe, use

__all__ = ["available", "describe", "use"]
