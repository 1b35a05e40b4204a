"""In-situ quantization: which matrices of a model become which ggml type while it is loaded."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from mistralrs.api.errors import NotSupportedError, RequestError
from mistralrs.kernels.affine import FORMATS
from mistralrs.nn.linear import Embedding
from mistralrs.quant.ggml import KINDS
from mistralrs.quant.ggml_kind import Kind
from mistralrs.quant.ggml_quantize import packed
from mistralrs.quant.plain import Plain
from mistralrs.quant.weight import Weight

log = logging.getLogger("mistralrs.isq")

TYPES = {KINDS[code].name: KINDS[code] for code in FORMATS}
NAMES: Mapping[str, str] = {  # spelling in lower case: ggml type; a bare number is a number of bits
    "2": "Q2_K", "3": "Q3_K", "4": "Q4_K", "5": "Q5_K", "6": "Q6_K", "8": "Q8_0",
    "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1", "q8_0": "Q8_0",
    "q2k": "Q2_K", "q3k": "Q3_K", "q4k": "Q4_K", "q5k": "Q5_K", "q6k": "Q6_K",
}  # fmt: skip
TO_COME = (
    "q8_1", "q8k", "hqq4", "hqq8", "fp8", "afq2", "afq3", "afq4", "afq6", "afq8", "f8q8", "mxfp4",
)  # fmt: skip

# The type that stands in where rows are no whole number of super-blocks.
SMALLER: Mapping[str, str] = {
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q4_1", "Q5_K": "Q5_0", "Q6_K": "Q5_1",
}  # fmt: skip
# The output head is sensitive and gets more bits.
HEAD: Mapping[str, str] = {
    "Q2_K": "Q6_K", "Q3_K": "Q6_K", "Q4_K": "Q6_K", "Q4_0": "Q6_K", "Q4_1": "Q6_K",
    "Q5_0": "Q8_0", "Q5_1": "Q8_0", "Q5_K": "Q8_0", "Q6_K": "Q8_0", "Q8_0": "Q8_0",
}  # fmt: skip
ROUTERS = {"gate", "router", "shared_expert_gate"}  # small, and they decide too much


def parse(text: str) -> Kind:
    """The type that a user names; raises RequestError with the accepted names for any other word."""
    word = text.strip().lower()
    if word in TO_COME:
        raise NotSupportedError(
            f"quantization to '{text}' is not available yet; choose one of {', '.join(NAMES)}"
        )
    if word not in NAMES:
        raise RequestError(f"'{text}' is no quantization; choose one of {', '.join(NAMES)}")
    return TYPES[NAMES[word]]


def fitting(kind: Kind, width: int) -> Kind | None:
    """The type for rows of this width: the wanted one, a smaller block, or None."""
    if width % kind.block == 0:
        return kind
    other = SMALLER.get(kind.name)
    return TYPES[other] if other and width % TYPES[other].block == 0 else None


@dataclass(frozen=True)
class Isq:
    """A choice of types by parameter name, made on the outline of a model."""

    kinds: Mapping[str, Kind]

    @classmethod
    def plan(cls, model: nn.Module, kind: Kind | None) -> "Isq":
        """Linear layers and experts get `kind`, the head a better one; embeddings and routers keep their dtype."""
        found = dict(candidates(model)) if kind else {}
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
        """The weight in its type; one that is quantized already stays as it is."""
        kind = self.kinds.get(name)
        return packed(kind, weight.tensor) if kind and isinstance(weight, Plain) else weight

    def nbytes(self, name: str, shape: tuple[int, ...]) -> int | None:
        """Bytes of a matrix once quantized, about; None for one that is not."""
        kind = self.kinds.get(name)
        return None if kind is None else int(prod(shape) * (kind.bits + 0.5) / 8)


def candidates(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the matrices that may be quantized; an encoder is small, and images need its precision."""
    for prefix, module in model.named_modules():
        if isinstance(module, Embedding) or prefix.rpartition(".")[2] in ROUTERS:
            continue
        if prefix.startswith("encoder."):
            continue
        for leaf in getattr(module, "matrices", ()):
            parameter = module._parameters.get(leaf)
            if parameter is not None:
                yield f"{prefix}.{leaf}", tuple(parameter.shape)


def wanted(name: str, kind: Kind) -> Kind:
    """The type of one matrix before its width is looked at."""
    return TYPES[HEAD[kind.name]] if name.startswith("lm_head.") else kind
