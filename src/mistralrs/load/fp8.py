"""Checkpoints in FP8 blocks, kept as they are stored."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mistralrs.nn.checkpoint import Lazy, Packed, Tensors
from mistralrs.quant import fp8

SCALES = "_scale_inv"  # follows the name of the matrix; despite it, scales multiply


def packed(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Every matrix that has block scales as one that stays packed; the rest as it is."""
    block = tuple((config.get("quantization_config") or {}).get("weight_block_size") or (128, 128))
    out: Tensors = {}
    for name, tensor in tensors.items():
        scales = tensors.get(name + SCALES)
        if scales is not None:
            out[name] = matrix(tensor, scales, block)
        elif not name.endswith(SCALES):
            out[name] = tensor
    return out


def matrix(codes: Lazy, scales: Lazy, block: tuple[int, int]) -> Packed:
    """Codes [N, K] and the scales that belong to them."""
    rows, width = codes.shape
    size = width + scales.shape[1] * scales.dtype.itemsize
    raw = codes.map(partial(joined, scales=scales, block=block), (rows, size), torch.uint8)
    make = partial(fp8.of_rows, width=width, columns=block[1], dtype=scales.dtype)
    return Packed.over(raw, width, make, "FP8", torch.bfloat16)


def joined(codes: Tensor, scales: Lazy, block: tuple[int, int]) -> Tensor:
    """Rows of bytes."""
    return fp8.rows(codes, scales.load(), block)
