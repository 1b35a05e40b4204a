"""From the files of a repository to a model ready to run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import torch
from torch import nn

from mistralrs import models
from mistralrs.api.errors import CheckpointError, ConfigError, MistralRsError
from mistralrs.load import fp8
from mistralrs.load.config import Config, architecture_of, choose_dtype
from mistralrs.load.fill import HEAD, Target, fill, fill_matrices
from mistralrs.load.hub import Repo
from mistralrs.load.matformer import refuse
from mistralrs.load.plan import Plan, Wish, plan
from mistralrs.load.tensors import main_dtype, read_checkpoint
from mistralrs.nn.cache import Paged, Seen, State
from mistralrs.nn.checkpoint import Lazy, Packed, Tensors
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.media import Encoder
from mistralrs.nn.rope import Rope
from mistralrs.passes.adapt import adapt
from mistralrs.passes.isq import Isq
from mistralrs.quant.formats import Format

log = logging.getLogger("mistralrs.load")


@dataclass(frozen=True)
class Built:
    """A filled model with its caches, what was decided on the way, and where its weights came from."""

    model: Decoder
    cfg: Config  # of the text model
    plan: Plan
    tensors: Tensors
    target: Target
    wish: Wish
    raw: Mapping[str, Any] = field(default_factory=dict)  # config.json
    media: Config | None = None  # of the whole model, where it reads media

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

    def requantize(self, kind: Format) -> None:
        """Quantize the matrices anew, one by one, from the numbers of the checkpoint."""
        isq = Isq.plan(self.model, kind, self.wish.experts)
        fill_matrices(self.model, self.tensors, self.target, isq, set(isq.kinds))

    def fixed(self, kind: Format) -> tuple[int, int]:
        """How many of the matrices that `kind` is for stay as the checkpoint has them, quantized; and of how many."""
        names = Isq.plan(self.model, kind, self.wish.experts).kinds
        stored = [self.tensors.get(name) for name in names]
        return sum(isinstance(t, Packed) and t.format != "FP8" for t in stored), len(names)


def build(repo: Repo, wish: Wish) -> Built:
    """A model from Hugging Face's files."""
    raw = repo.json("config.json")
    if raw is None:
        raise ConfigError(
            f"'{repo.id}' has no config.json: name the directory of a Hugging Face model, or download it again"
        )
    return construct(raw, lambda: fp8.packed(read_checkpoint(repo.weights()), raw), wish)


def construct(raw: Mapping[str, Any], read: Callable[[], Tensors], wish: Wish) -> Built:
    """Detect the architecture of a config.json, plan the memory, then read the weights tensor by tensor."""
    drawn = draw(raw, wish)
    model, cfg, reader = drawn.model, drawn.cfg, drawn.reader
    architecture, encoder = type(model), model.encoder
    stored = read()
    dtype = choose_dtype(wish.dtype, cfg, wish.device, main_dtype(stored))
    if encoder and reader:
        stored = type(encoder).checkpoint(reader, stored)
    if wish.embeds:
        behead(model)
        stored = inside_model(stored)
    apart = {name: t for name, t in stored.items() if name.startswith("encoder.")}
    spoken = {name: t for name, t in stored.items() if name not in apart}
    if wish.slice is not None:
        spoken = wish.slice.tensors(spoken, drawn.whole)
    tensors = complete(model, architecture.checkpoint(cfg, spoken) | apart, cfg)
    isq = Isq.plan(model, wish.isq, wish.experts)
    target = Target.of(wish, dtype)
    cached = target.compute if wish.embeds else dtype
    layout = plan(model, cfg, needed(tensors, isq, dtype), cached, wish)
    log.info("%s", layout)
    fill(model, tensors, target, isq)
    allocate(model, layout, wish.device, cached)
    return Built(model, cfg, layout, tensors, target, wish, raw, reader)


@dataclass(frozen=True)
class Drawn:
    """A model as shapes without storage, and what config.json says about it."""

    model: Decoder
    cfg: Config  # of the text model
    reader: Config | None  # of the whole model, where it reads media
    whole: Config  # of the text model before it was sliced


def draw(raw: Mapping[str, Any], wish: Wish) -> Drawn:
    """The model that a config.json describes."""
    key = choose(raw, wish)
    encoder = models.encoder(key)
    reader = None if encoder is None else media_config(raw, encoder)
    architecture = models.find(text_key(key, raw, encoder))
    whole = Config(reader.text.raw if reader else raw, architecture.defaults)
    cfg = whole
    if wish.slice is not None:
        if "activation_sparsity_pattern" not in architecture.defaults:
            refuse(architecture.__name__)
        cfg = Config({**whole.raw, **wish.slice.settings(whole)}, architecture.defaults)
    model = outline(architecture, cfg)
    if encoder and reader:
        adapt(model, encoder.adapters(reader))
        model.encoder = outline(encoder, reader)
    return Drawn(model, cfg, reader, whole)


def media_config(raw: Mapping[str, Any], encoder: type[Encoder]) -> Config:
    """config.json of a model with an encoder; its text_config is complete, also where it was the file's top level."""
    raw = encoder.spelled(raw)
    own = raw.get("text_config") or {}
    for name in ("text_config", "vision_config", "audio_config"):
        if not isinstance(raw.get(name) or {}, Mapping):
            raise ConfigError(f"config.json: {name} must be an object, not {raw[name]!r}")
    above = {k: v for k, v in raw.items() if not k.endswith("_config") and k != "architectures"}
    text = {**encoder.text_defaults.get(text_type(raw), {}), **above, **own}
    if "tie_word_embeddings" in raw:  # the file's, whatever the text model alone would do
        text["tie_word_embeddings"] = raw["tie_word_embeddings"]
    return Config({**raw, "text_config": text}, encoder.defaults)


def text_type(raw: Mapping[str, Any]) -> str:
    """The model_type of the text model inside a config.json."""
    return str((raw.get("text_config") or raw).get("model_type"))


def text_key(key: str, raw: Mapping[str, Any], encoder: type[Encoder] | None) -> str:
    """The registry key of the text model."""
    return key if encoder is None else encoder.text or text_type(raw)


def needed(tensors: Tensors, isq: Isq, dtype: torch.dtype) -> int:
    """Bytes of all tensors once they are loaded, and of the quantized copy that a tied head may be."""
    sizes = [isq.nbytes(n, t.shape) or taken(t, dtype) for n, t in tensors.items()]
    if HEAD not in tensors:
        sizes.append(isq.nbytes(HEAD, tensors["model.embed_tokens.weight"].shape) or 0)
    return sum(sizes)


def taken(lazy: Lazy, dtype: torch.dtype) -> int:
    """Bytes of memory of a tensor once it is loaded."""
    return lazy.nbytes if isinstance(lazy, Packed) else prod(lazy.shape) * dtype.itemsize


def behead(model: Decoder) -> None:
    """Leave the head off, and let layers of equal shape share one cache: each fills it anew in every step."""
    del model.lm_head
    caches: dict[tuple[int, ...], Paged] = {}
    owners = Counter(child for module in model.modules() for child in module.children())
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Paged) and owners[child] == 1:  # others are read by later layers
                shape = (child.heads, child.k_dim, child.v_dim, child.shared)
                setattr(module, name, caches.setdefault(shape, child))


def inside_model(tensors: Tensors) -> Tensors:
    """The names of a decoder for the names of its inner model alone, as embedding checkpoints have them."""
    known = any(name.startswith("model.") for name in tensors)
    return tensors if known else {f"model.{name}": tensor for name, tensor in tensors.items()}


def choose(raw: Mapping[str, Any], wish: Wish) -> str:
    """The registry key of the architecture that the user names, else that of config.json."""
    arch = wish.arch
    if arch is None:
        return architecture_of(raw, models.SOURCES)
    key = models.key_of(arch, models.MEDIA if wish.media else models.REGISTRY)
    named = [name for name in raw.get("architectures") or () if name in models.SOURCES]
    if named and key not in [models.SOURCES[name] for name in named]:
        raise ConfigError(
            f"arch='{arch}' contradicts config.json, which names {named[0]}: leave arch out"
        )
    return key


Module = TypeVar("Module", bound=nn.Module)


def outline(architecture: Callable[[Config], Module], cfg: Config) -> Module:
    """The model as shapes without storage; raises ConfigError where config.json does not describe one."""
    try:
        return architecture(cfg).eval()
    except MistralRsError:
        raise
    except Exception as error:  # a value of a wrong type or size can fail in any way
        raise ConfigError(
            f"config.json does not describe a {getattr(architecture, '__name__', '')} model ({error!r}): check the "
            "values that were edited, or download it again"
        ) from error


def allocate(model: Decoder, layout: Plan, device: torch.device, dtype: torch.dtype) -> None:
    """Reserve the caches of all layers."""
    for module in model.modules():
        if isinstance(module, Paged):
            module.allocate(layout.pages, layout.page_size, device, dtype)
        elif isinstance(module, State):
            module.allocate(layout.states, device)
        elif isinstance(module, Seen):
            module.dtype = dtype


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
                f"'{name}' has shape {list(tensors[name].shape)} in {tensors[name].file} and "
                f"{list(shape)} by config.json; the two do not belong together"
            )
    unused = sorted(set(tensors) - set(declared) - {"lm_head.weight"})
    unused = [name for name in unused if not name.endswith("inv_freq")]  # old checkpoints' rope
    if unused:
        log.warning(
            "%d tensors of the checkpoint are not used, such as '%s'", len(unused), unused[0]
        )
    return {name: tensors[name] for name in declared}
