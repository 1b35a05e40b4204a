"""Tensors of a checkpoint into the places of a model."""

from __future__ import annotations

import logging
from collections.abc import Container
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from mistralrs.kernels.memory import together
from mistralrs.load.plan import Wish
from mistralrs.load.trim import mapped, trim
from mistralrs.nn.checkpoint import Lazy, Packed, Tensors
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.linear import Embedding, place
from mistralrs.passes.isq import Isq
from mistralrs.quant.affine import packed
from mistralrs.quant.plain import Plain
from mistralrs.quant.weight import Weight

steps = logging.getLogger("mistralrs.load.steps")  # records (what, done, total) for bars

HEAD = "lm_head.weight"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # what a matrix may stay in


@dataclass(frozen=True)
class Target:
    """Where tensors go: a device, the dtype of matrices (None: as stored), the dtype of activations."""

    device: torch.device
    storage: torch.dtype | None
    compute: torch.dtype

    @classmethod
    def of(cls, wish: Wish, dtype: torch.dtype) -> Target:
        """On a CPU activations are float32, and matrices stay as stored unless a dtype is asked for."""
        if wish.device.type != "cpu":
            return cls(wish.device, dtype, dtype)
        return cls(wish.device, None if wish.dtype == "auto" else dtype, torch.float32)

    def put(self, module: nn.Module, leaf: str, lazy: Lazy) -> None:
        """Replace a declared parameter by its tensor."""
        if leaf in getattr(module, "matrices", ()):
            place(module, leaf, self.matrix(lazy))
        else:
            module._parameters[leaf] = self.small(lazy, leaf in getattr(module, "exact", ()))

    def matrix(self, lazy: Lazy) -> Weight:
        """A matrix in its format."""
        if isinstance(lazy, Packed):
            return lazy.weight(self.device)
        stored = lazy.dtype if lazy.dtype in FLOATS else self.compute
        return Plain(lazy.load().to(self.device, self.storage or stored))

    def small(self, lazy: Lazy, exact: bool) -> nn.Parameter:
        """A norm, a bias or the like; `exact` numbers are those that 16 bits would spoil."""
        dtype = torch.float32 if exact else self.compute
        return nn.Parameter(lazy.load().to(self.device, dtype), requires_grad=False)


def fill(model: Decoder, tensors: Tensors, target: Target, isq: Isq) -> None:
    """Replace every declared parameter by its tensor, one at a time, quantized where the plan says so."""
    model.dtype = target.compute
    if model.encoder is not None:
        model.encoder.dtype = target.compute
    for prefix, module in model.named_modules():
        for leaf in [n for n, p in module._parameters.items() if p is not None]:
            lazy = tensors.get(f"{prefix}.{leaf}")
            if lazy is not None and leaf not in getattr(module, "matrices", ()):
                target.put(module, leaf, lazy)
    fill_matrices(model, tensors, target, isq, set(tensors) | {HEAD})


def fill_matrices(
    model: Decoder, tensors: Tensors, target: Target, isq: Isq, names: Container[str]
) -> None:
    """Put these of the matrices in their places, quantized where the plan says so."""
    with together(), mapped() if isq.kinds else nullcontext():
        place_matrices(model, tensors, target, isq, names)
    if isq.kinds:
        trim()


def place_matrices(
    model: Decoder, tensors: Tensors, target: Target, isq: Isq, names: Container[str]
) -> None:
    """Quantize and place one matrix after the other."""
    wanted = [
        (f"{prefix}.{leaf}", module, leaf)
        for prefix, module in model.named_modules()
        for leaf in getattr(module, "matrices", ())
        if f"{prefix}.{leaf}" in tensors and f"{prefix}.{leaf}" in names
    ]
    what = "quantizing" if isq.kinds else "loading"
    for done, (name, module, leaf) in enumerate(wanted, 1):
        weight = isq.apply(name, target.matrix(tensors[name]))
        # A table whose rows are looked up stays in the mapped file.
        place(module, leaf, weight if isinstance(module, Embedding) else packed(weight))
        tensors[name].release()
        steps.debug("%s: matrix %d of %d", what, done, len(wanted))
    if hasattr(model, "lm_head") and HEAD not in tensors and HEAD in names:
        tied = isq.apply(HEAD, model.model.embed_tokens.weight)
        place(model.lm_head, "weight", packed(tied))
        tensors["model.embed_tokens.weight"].release()
