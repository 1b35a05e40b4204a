"""The memory of a model before its weights are there: sizes of the outline that config.json describes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mistralrs.api.errors import ConfigError
from mistralrs.load.build import Drawn, draw
from mistralrs.load.config import choose_dtype
from mistralrs.load.fill import HEAD
from mistralrs.load.hub import Repo
from mistralrs.load.plan import Wish, beside, context
from mistralrs.nn.cache import Paged, State
from mistralrs.nn.linear import Embedding
from mistralrs.passes.isq import Isq
from mistralrs.quant.formats import FORMATS, Format


@dataclass(frozen=True)
class Estimate:
    """Bytes of weights, of states (recurrent ones, images that stay) and of a token of cache; the longest sequence."""

    weights: int
    states: int
    per_token: int
    context: int


def estimates(repo: Repo, wish: Wish, kinds: list[Format | None]) -> list[Estimate]:
    """One estimate for each type that the matrices could be quantized to; None leaves them as they are."""
    raw = repo.json("config.json")
    if raw is None:
        raise ConfigError(
            f"'{repo.id}' has no config.json: name the directory of a Hugging Face model, or its id"
        )
    drawn = draw(raw, wish)
    return [estimate(drawn, raw, replace(wish, isq=kind)) for kind in kinds]


def estimate(drawn: Drawn, raw: Mapping[str, Any], wish: Wish) -> Estimate:
    """The memory of one model."""
    dtype = choose_dtype(wish.dtype, drawn.cfg, wish.device)
    model, slots = drawn.model, wish.sequences + wish.snapshots
    return Estimate(
        weights=sum(sizes(drawn, raw, wish, dtype)),
        states=slots * 4 * sum(m.width for m in model.modules() if isinstance(m, State))
        + wish.sequences * beside(model, dtype),
        per_token=dtype.itemsize * sum(m.width for m in model.modules() if isinstance(m, Paged)),
        context=context(drawn.cfg),
    )


def sizes(drawn: Drawn, raw: Mapping[str, Any], wish: Wish, dtype: torch.dtype) -> Iterator[int]:
    """Bytes of each tensor once it is loaded."""
    model, tied = drawn.model, drawn.cfg.tie_word_embeddings
    isq, stored = Isq.plan(model, wish.isq, wish.experts), stored_bits(model, raw)
    small = 4 if wish.device.type == "cpu" else dtype.itemsize
    large = {f"{prefix}.{leaf}" for prefix, _, leaf in matrices(model)}
    for name, parameter in model.named_parameters():
        bits: float = 8 * (dtype.itemsize if name in large else small)
        bits = stored.get(name, bits)
        if name in isq.kinds and (name not in stored or isq.kinds[name].bits < bits == FP8):
            bits = isq.kinds[name].bits
        if not (tied and name == HEAD and HEAD not in isq.kinds):
            yield int(parameter.numel() * bits / 8)


FP8 = 8 + 32 / 128**2  # bits of a weight, the scale of its block included
MXFP4 = FORMATS["MXFP4"].bits


def stored_bits(model: nn.Module, raw: Mapping[str, Any]) -> dict[str, float]:
    """Bits per weight of the matrices that a checkpoint has in a quantized form, by what config.json says."""
    method = (raw.get("quantization_config") or {}).get("quant_method")
    found = {
        f"{prefix}.{leaf}": getattr(module, leaf).dim()
        for prefix, module, leaf in matrices(model)
        if not isinstance(module, Embedding) and not prefix.startswith(("encoder.", "lm_head"))
    }
    if method == "fp8":
        return dict.fromkeys(found, FP8)
    if method == "mxfp4":
        return {name: MXFP4 for name, dims in found.items() if dims == 3}
    return {}


def matrices(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Owner's name, owner, and name there of every parameter that is a matrix."""
    for prefix, module in model.named_modules():
        for leaf in getattr(module, "matrices", ()):
            if getattr(module, leaf) is not None:
                yield prefix, module, leaf
