"""From the files of a repository to a model ready to run."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mistralrs import models
from mistralrs.api.errors import CheckpointError, ConfigError, MistralRsError
from mistralrs.load.config import Config, architecture_of, choose_dtype
from mistralrs.load.fp8 import widened
from mistralrs.load.hub import Repo
from mistralrs.load.plan import Plan, Wish, plan
from mistralrs.load.tensors import main_dtype, read_checkpoint
from mistralrs.nn.cache import Paged, State
from mistralrs.nn.checkpoint import Lazy, Tensors
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.linear import place
from mistralrs.nn.rope import Rope
from mistralrs.quant.plain import Plain

log = logging.getLogger("mistralrs.load")


@dataclass(frozen=True)
class Built:
    """A filled model with its caches, and what was decided on the way."""

    model: Decoder
    cfg: Config
    plan: Plan

    @cached_property
    def ropes(self) -> list[Rope]:
        """The rotary embeddings, each kind once."""
        return list({m.key: m for m in self.model.modules() if isinstance(m, Rope)}.values())

    def salt(self, prompt: int, length: int) -> int:
        """What else than the tokens decides the cached keys of a sequence; see `Rope.salt`."""
        return max((rope.salt(prompt, length) for rope in self.ropes), default=0)

    @property
    def copy(self) -> Callable[[int, int], None] | None:
        """Copies the recurrent state of one slot to another; None for a model without such layers."""
        states = [m for m in self.model.modules() if isinstance(m, State)]

        def copy(source: int, target: int) -> None:
            for state in states:
                for data in state.data.values():
                    data[target] = data[source]

        return copy if states else None


def build(repo: Repo, wish: Wish) -> Built:
    """Detect the architecture, plan the memory, then read the weights tensor by tensor."""
    raw = repo.json("config.json")
    if raw is None:
        raise ConfigError(
            f"'{repo.id}' has no config.json: name the directory of a Hugging Face model, or download it again"
        )
    architecture = models.find(choose(raw, wish.arch))
    cfg = Config(raw, architecture.defaults)
    stored = widened(read_checkpoint(repo.weights()), raw)
    dtype = choose_dtype(wish.dtype, cfg, wish.device, main_dtype(stored))
    model = outline(architecture, cfg)
    if wish.embeds:
        behead(model)
        stored = inside_model(stored)
    tensors = complete(model, architecture.checkpoint(cfg, stored), cfg)
    weights = sum(t.nbytes // t.dtype.itemsize * dtype.itemsize for t in tensors.values())
    cached = activations(wish.device, dtype) if wish.embeds else dtype
    layout = plan(model, cfg, weights, cached, wish)
    log.info("%s", layout)
    fill(model, tensors, wish.device, dtype)
    allocate(model, layout, wish.device, cached)
    return Built(model, cfg, layout)


def behead(model: Decoder) -> None:
    """Leave the head off, and let layers of equal shape share one cache: each fills it anew in every step."""
    del model.lm_head
    caches: dict[tuple[int, ...], Paged] = {}
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Paged):
                shape = (child.heads, child.k_dim, child.v_dim, child.shared)
                setattr(module, name, caches.setdefault(shape, child))


def inside_model(tensors: Tensors) -> Tensors:
    """The names of a decoder for the names of its inner model alone, as embedding checkpoints have them."""
    known = any(name.startswith("model.") for name in tensors)
    return tensors if known else {f"model.{name}": tensor for name, tensor in tensors.items()}


def choose(raw: Mapping[str, Any], arch: str | None) -> str:
    """The registry key of the architecture that the user names, else that of config.json."""
    if arch is None:
        return architecture_of(raw, models.SOURCES)
    key = models.key_of(arch)
    named = [name for name in raw.get("architectures") or () if name in models.SOURCES]
    if named and key not in [models.SOURCES[name] for name in named]:
        raise ConfigError(
            f"arch='{arch}' contradicts config.json, which names {named[0]}: leave arch out"
        )
    return key


def outline(architecture: type[Decoder], cfg: Config) -> Decoder:
    """The model as shapes without storage; raises ConfigError where config.json does not describe one."""
    try:
        return architecture(cfg).eval()
    except MistralRsError:
        raise
    except Exception as error:  # a value of a wrong type or size can fail in any way
        raise ConfigError(
            f"config.json does not describe a {architecture.__name__} model ({error!r}): check the "
            "values that were edited, or download it again"
        ) from error


def allocate(model: Decoder, layout: Plan, device: torch.device, dtype: torch.dtype) -> None:
    """Reserve the caches of all layers."""
    for module in model.modules():
        if isinstance(module, Paged):
            module.allocate(layout.pages, layout.page_size, device, dtype)
        elif isinstance(module, State):
            module.allocate(layout.states, device)


def complete(model: Decoder, tensors: Tensors, cfg: Config) -> Tensors:
    """The tensors that the model declares, each of the declared shape; a tied head has none of its own."""
    declared = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if cfg.tie_word_embeddings:
        declared.pop("lm_head.weight", None)
    missing = [name for name in declared if name not in tensors]
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {len(missing)} tensors of this architecture, such as "
            f"'{missing[0]}'; it is incomplete (download it again) or of another architecture"
        )
    for name, shape in declared.items():
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"'{name}' has shape {list(tensors[name].shape)} in the checkpoint and {list(shape)} by "
                "config.json; the two do not belong together"
            )
    unused = sorted(set(tensors) - set(declared) - {"lm_head.weight"})
    unused = [name for name in unused if not name.endswith("inv_freq")]  # old checkpoints' rope
    if unused:
        log.warning(
            "%d tensors of the checkpoint are not used, such as '%s'", len(unused), unused[0]
        )
    return {name: tensors[name] for name in declared}


def fill(model: Decoder, tensors: Tensors, device: torch.device, dtype: torch.dtype) -> None:
    """Replace every declared parameter by its tensor, one at a time."""
    model.dtype = activations(device, dtype)
    for prefix, module in model.named_modules():
        for leaf in [n for n, p in module._parameters.items() if p is not None]:
            lazy = tensors.get(f"{prefix}.{leaf}")
            if lazy is not None:
                put(module, leaf, lazy, device, dtype, model.dtype)
    if hasattr(model, "lm_head") and "lm_head.weight" not in tensors:
        place(model.lm_head, "weight", model.model.embed_tokens.weight)


def activations(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The dtype that a model computes in: float32 on a CPU."""
    return torch.float32 if device.type == "cpu" else dtype


def put(
    module: nn.Module,
    leaf: str,
    lazy: Lazy,
    device: torch.device,
    dtype: torch.dtype,
    compute: torch.dtype,
) -> None:
    """Matrices become weights in their storage dtype, the small rest parameters in the activations' dtype."""
    if leaf in getattr(module, "matrices", ()):
        place(module, leaf, Plain(lazy.load().to(device, dtype)))
    else:
        exact = leaf in getattr(module, "exact", ())  # small numbers that 16 bits would spoil
        value = lazy.load().to(device, torch.float32 if exact else compute)
        module._parameters[leaf] = nn.Parameter(value, requires_grad=False)
