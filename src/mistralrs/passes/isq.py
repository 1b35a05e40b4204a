"""In-situ quantization: which matrices of a model become which type, while it is loaded or later."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from mistralrs.api.errors import RequestError
from mistralrs.nn.adapter import LoRA
from mistralrs.nn.linear import Embedding
from mistralrs.quant.coded import Coded
from mistralrs.quant.formats import FORMATS, Format
from mistralrs.quant.plain import Plain
from mistralrs.quant.weight import Weight

log = logging.getLogger("mistralrs.isq")

NAMES: Mapping[str, str] = {  # spelling in lower case: type; a bare number is a number of bits
    "2": "Q2_K", "3": "Q3_K", "4": "Q4_K", "5": "Q5_K", "6": "Q6_K", "8": "Q8_0",
    "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1", "q8_0": "Q8_0", "q8_1": "Q8_1",
    "q2k": "Q2_K", "q3k": "Q3_K", "q4k": "Q4_K", "q5k": "Q5_K", "q6k": "Q6_K", "q8k": "Q8_K",
    "hqq4": "HQQ4", "hqq8": "HQQ8", "fp8": "FP8", "f8q8": "F8Q8", "mxfp4": "MXFP4",
    "afq2": "AFQ2", "afq3": "AFQ3", "afq4": "AFQ4", "afq6": "AFQ6", "afq8": "AFQ8",
}  # fmt: skip

# The type that stands in where rows are no whole number of super-blocks.
SMALLER: Mapping[str, str] = {
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q4_1", "Q5_K": "Q5_0", "Q6_K": "Q5_1", "Q8_K": "Q8_1",
}  # fmt: skip
# The output head is sensitive and gets more bits.
HEAD: Mapping[str, str] = {
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q4_0", "Q4_1", "MXFP4"), "Q6_K"),
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0", "Q8_K", "FP8"), "Q8_0"),
    **dict.fromkeys(("AFQ2", "AFQ3", "AFQ4"), "AFQ6"),
    **dict.fromkeys(("AFQ6", "AFQ8"), "AFQ8"),
    **dict.fromkeys(("HQQ4", "HQQ8"), "HQQ8"),
    "Q8_1": "Q8_1",
    "F8Q8": "F8Q8",
}
ROUTERS = {
    "gate",
    "router",
    "shared_expert_gate",
    "modality_router",
}  # small, and they decide too much


def parse(text: str) -> Format:
    """The type that a user names; raises RequestError with the accepted names for any other word."""
    word = text.strip().lower()
    if word not in NAMES:
        raise RequestError(f"'{text}' is no quantization; choose one of {', '.join(NAMES)}")
    return FORMATS[NAMES[word]]


def fitting(kind: Format, width: int) -> Format | None:
    """The type for rows of this width: the wanted one, a smaller block, or None."""
    if width % kind.block == 0:
        return kind
    other = SMALLER.get(kind.name)
    return FORMATS[other] if other and width % FORMATS[other].block == 0 else None


@dataclass(frozen=True)
class Isq:
    """A choice of types by parameter name, made on the outline of a model or on a loaded one."""

    kinds: Mapping[str, Format]

    @classmethod
    def plan(cls, model: nn.Module, kind: Format | None, experts: bool = False) -> "Isq":
        """Linear layers and experts get `kind`, the head a better one; embeddings and routers keep their dtype.

        `experts` leaves out what is not in the feed-forward half of a mixture of experts, but for the head.
        """
        found = dict(candidates(model)) if kind else {}
        if experts:
            found = feed_forward(found)
        chosen = {
            name: fitting(wanted(name, kind), shape[-1]) for name, shape in found.items() if kind
        }
        skipped = [name for name, kind in chosen.items() if kind is None]
        if skipped:
            log.warning(
                "%d matrices such as '%s' stay unquantized: no block divides their rows of %d values",
                len(skipped), skipped[0], found[skipped[0]][-1],
            )  # fmt: skip
        return cls({name: kind for name, kind in chosen.items() if kind})

    def apply(self, name: str, weight: Weight) -> Weight:
        """The weight in its type; one that is quantized already stays, unless it is FP8 and gets fewer bits."""
        kind = self.kinds.get(name)
        if kind is None or not (isinstance(weight, Plain) or shrinks(weight, kind)):
            return weight
        return kind.quantize(weight.tensor if isinstance(weight, Plain) else weight.dequantize())

    def nbytes(self, name: str, shape: tuple[int, ...]) -> int | None:
        """Bytes of a matrix once quantized, about; None for one that is not."""
        kind = self.kinds.get(name)
        return None if kind is None else int(prod(shape) * kind.bits / 8)


def shrinks(weight: Weight, kind: Format) -> bool:
    """Whether a matrix of an FP8 checkpoint is worth another rounding."""
    return isinstance(weight, Coded) and weight.format == "FP8" and kind.bits < weight.bits


def candidates(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the matrices that may be quantized; an encoder is small, and images need its precision."""
    for prefix, module in model.named_modules():
        if isinstance(module, Embedding | LoRA) or prefix.rpartition(".")[2] in ROUTERS:
            continue
        if prefix.startswith("encoder."):
            continue
        for leaf in getattr(module, "matrices", ()):
            parameter = getattr(module, leaf)
            if parameter is not None:
                yield f"{prefix}.{leaf}", tuple(parameter.shape)


def feed_forward(found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What lies in the parts of a layer that hold experts, and the head; everything in a model without experts."""
    parts = {part(name) for name, shape in found.items() if len(shape) == 3}
    if not parts:
        return dict(found)
    return {n: shape for n, shape in found.items() if part(n) in parts or n.startswith("lm_head.")}


def part(name: str) -> str:
    """The member of a layer that a matrix belongs to: `mlp` of `model.layers.3.mlp.experts.up_proj`."""
    after = name.partition(".layers.")[2].split(".")
    return after[1] if len(after) > 1 else name


def wanted(name: str, kind: Format) -> Format:
    """The type of one matrix before its width is looked at."""
    return FORMATS[HEAD[kind.name]] if name.startswith("lm_head.") else kind
