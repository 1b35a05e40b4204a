"""Checkpoints in FP8 blocks, read as bfloat16."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mistralrs.nn.checkpoint import Lazy, Tensors
from mistralrs.quant import fp8

SCALES = "_scale_inv"  # follows the name of the matrix; despite it, scales multiply


def widened(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Every matrix that has block scales as bfloat16, unpacked when it is loaded; the rest as it is."""
    rows, columns = (config.get("quantization_config") or {}).get("weight_block_size") or (128, 128)
    out: Tensors = {}
    for name, tensor in tensors.items():
        scales = tensors.get(name + SCALES)
        if scales is not None:
            read = partial(decode, scales=scales, block=(rows, columns))
            out[name] = tensor.map(read, dtype=torch.bfloat16)
        elif not name.endswith(SCALES):
            out[name] = tensor
    return out


def decode(codes: Tensor, scales: Lazy, block: tuple[int, int]) -> Tensor:
    """Codes [N, K] and the scales that belong to them -> bfloat16 [N, K]."""
    return fp8.unpack(codes, scales.load(), block)
