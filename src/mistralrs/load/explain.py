"""What a built model consists of, as a report."""

import re
from collections.abc import Iterator

from torch import nn

from mistralrs.api.explain import Explanation, Matrices
from mistralrs.kernels import describe, native
from mistralrs.load.build import Built
from mistralrs.nn.adapter import LoRA
from mistralrs.nn.cache import Paged
from mistralrs.nn.linear import Embedding
from mistralrs.nn.moe import Experts
from mistralrs.quant.weight import Weight

# Format family: what multiplies with it on a CPU.
KERNELS = {
    "plain": "linear",
    "affine": "affine",
    "coded": "coded",
    "ggml": "torch, decoded in strips",
}


def explain(id: str, built: Built, bandwidth: float | None, speed: float | None) -> Explanation:
    """The report on one model; `bandwidth` in bytes and `speed` in tokens per second are the caller's."""
    plan, caches = built.plan, [m for m in built.model.modules() if isinstance(m, Paged)]
    chosen = describe()
    return Explanation(
        model=id,
        device=plan.device,
        instructions=chosen["cpu"] if plan.device == "cpu" else "torch",
        threads=chosen["threads"],
        activations=bare(built.model.dtype),
        matrices=grouped(built),
        cache_dtype=bare(caches[0].k.dtype) if caches else "none",
        cache_tokens=plan.pages * plan.page_size,
        cache_bytes=plan.pages * plan.page_size * plan.per_token,
        page_tokens=plan.page_size,
        token_bytes=plan.per_token,
        bandwidth=bandwidth,
        speed=speed,
    )


def grouped(built: Built) -> tuple[Matrices, ...]:
    """The matrices of all layers together, by place and format, in the order of the model."""
    groups: dict[tuple[str, str], list[tuple[nn.Module, Weight]]] = {}
    for name, module, weight in weights(built.model):
        place = re.sub(r"^model\.(layers\.\d+\.)?|\.weight$", "", name)
        groups.setdefault((place, weight.format), []).append((module, weight))
    known: set[int] = set()
    return tuple(together(place, group, built, known) for (place, _), group in groups.items())


def together(
    place: str, group: list[tuple[nn.Module, Weight]], built: Built, known: set[int]
) -> Matrices:
    """One row of the report; a matrix that is `known` already, as a tied head is, takes no more memory."""
    size = sum(w.nbytes for _, w in group if id(w) not in known)
    known.update(id(w) for _, w in group)
    module, first = group[0]
    return Matrices(
        place=place,
        count=len(group),
        format=first.format,
        kernel=kernel(module, first, built.plan.device),
        bits=first.bits,
        bytes=size,
        read=sum(read(m, w, built) for m, w in group),
    )


def weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, Weight]]:
    """Name, owner and matrix."""
    for prefix, module in model.named_modules():
        for leaf in getattr(module, "matrices", ()):
            weight = getattr(module, leaf)
            if isinstance(weight, Weight):
                yield f"{prefix}.{leaf}", module, weight


def kernel(module: nn.Module, weight: Weight, device: str) -> str:
    """What computes with a matrix."""
    if isinstance(module, Embedding):
        return "rows"
    if device != "cpu" or native.ops is None:
        return "torch"
    stacked = isinstance(module, Experts) and weight.name != "ggml"
    return KERNELS[weight.name] + (" gather" if stacked else "")


def read(module: nn.Module, weight: Weight, built: Built) -> int:
    """Bytes of a matrix that one token needs: a row of a table, the chosen ones of a stack of experts."""
    if isinstance(module, Embedding):
        return weight.nbytes // weight.shape[0]
    if isinstance(module, LoRA):
        return 0  # a plain prompt reads none
    if isinstance(module, Experts):
        chosen: int = min(weight.shape[0], built.cfg.num_experts_per_tok)
        return weight.nbytes * chosen // weight.shape[0]
    return weight.nbytes


def bare(dtype: object) -> str:
    """`torch.float32` as `float32`."""
    return str(dtype).removeprefix("torch.")
