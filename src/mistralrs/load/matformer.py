"""MatFormer: a smaller model inside of Gemma 3n, as a line of a table says: fewer layers, narrower feed-forwards."""

import ast
import csv
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistralrs.api.errors import ConfigError, NotSupportedError
from mistralrs.load.config import Config
from mistralrs.nn.checkpoint import Lazy, Tensors

log = logging.getLogger("mistralrs.load")

NAME, WIDTHS, SKIPPED = "name", "FFN Hidden Dims", "Layers Skipped"  # columns
EACH = (
    "intermediate_size",
    "layer_types",
    "activation_sparsity_pattern",
)  # lists with one entry for each layer


@dataclass(frozen=True)
class Slice:
    """The feed-forward width of each layer that is kept, and the layers that are not."""

    name: str
    widths: tuple[int, ...]
    skipped: frozenset[int] = frozenset()

    def kept(self, layers: int) -> list[int]:
        """The layers that stay; raises ConfigError where they and the widths do not fit together."""
        kept = [i for i in range(layers) if i not in self.skipped]
        if len(kept) != len(self.widths) or not self.skipped <= set(range(layers)):
            raise ConfigError(
                f"MatFormer slice '{self.name}' has {len(self.widths)} widths and skips {sorted(self.skipped)}, which "
                f"does not fit a model of {layers} layers"
            )
        return kept

    def settings(self, cfg: Config) -> dict[str, Any]:
        """The keys of config.json that the slice changes."""
        layers = cfg.num_hidden_layers
        kept, first = self.kept(layers), layers - cfg.num_kv_shared_layers
        if reserved := sorted(self.skipped & {first - 2, first - 1}):
            raise ConfigError(
                f"MatFormer slice '{self.name}' skips layer {reserved[0]}, which is reserved: later layers use its keys"
            )
        for now, width in zip(kept, self.widths, strict=True):
            full = (
                cfg.intermediate_size[now]
                if isinstance(cfg.intermediate_size, list)
                else cfg.intermediate_size
            )
            if not 0 < width <= full:
                raise ConfigError(
                    f"MatFormer slice '{self.name}': layer {now} has {full} features, not {width}"
                )
        given = {key: cfg.get(key) for key in EACH}
        sparsity = given["activation_sparsity_pattern"]
        if sparsity is None:  # as the family has it
            given["activation_sparsity_pattern"] = [
                0.95 if i < 10 < layers else 0.0 for i in range(layers)
            ]
        lists = {k: [v[i] for i in kept] for k, v in given.items() if isinstance(v, list)}
        return lists | dict(
            intermediate_size=list(self.widths),
            num_hidden_layers=len(kept),
            num_kv_shared_layers=sum(i >= first for i in kept),
        )

    def tensors(self, tensors: Mapping[str, Lazy], cfg: Config) -> Tensors:
        """The tensors of the slice, by the config.json of the whole model."""
        kept = self.kept(cfg.num_hidden_layers)
        numbers = {old: new for new, old in enumerate(kept)}
        out: Tensors = {}
        for name, tensor in tensors.items():
            found = re.match(r"model\.layers\.(\d+)\.(.*)", name)
            if found is None:
                out[name] = self.second(name, tensor, kept, cfg.hidden_size_per_layer_input)
            elif int(found[1]) in numbers:
                layer = numbers[int(found[1])]
                out[f"model.layers.{layer}.{found[2]}"] = narrowed(
                    found[2], tensor, self.widths[layer]
                )
        return out

    def second(self, name: str, tensor: Lazy, kept: list[int], width: int) -> Lazy:
        """What has a part for each layer, without those of the skipped ones."""
        dims = {
            "model.embed_tokens_per_layer.weight": 1,
            "model.per_layer_model_projection.weight": 0,
        }
        if name not in dims or not self.skipped:
            return tensor
        dim = dims[name]
        parts = [
            tensor.narrow(dim, first * width, (last - first) * width) for first, last in runs(kept)
        ]
        return Lazy.cat(parts, dim)


def runs(kept: list[int]) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of the layers without a gap between them."""
    first = kept[0]
    for before, after in zip(kept, [*kept[1:], None], strict=True):
        if after != before + 1:
            yield first, before + 1
            first = after or 0


def narrowed(name: str, tensor: Lazy, width: int) -> Lazy:
    """The first features of a feed-forward matrix."""
    if name in ("mlp.gate_proj.weight", "mlp.up_proj.weight"):
        return tensor.narrow(0, 0, width)
    return tensor.narrow(1, 0, width) if name == "mlp.down_proj.weight" else tensor


def sliced(path: str | None, name: str | None) -> Slice | None:
    """The line `name` of the table in `path`; raises ConfigError where there is none."""
    if name is None:
        if path is not None:
            log.warning(
                "matformer_config_path without matformer_slice_name: the full model is loaded"
            )
        return None
    if path is None:
        raise ConfigError(
            f"matformer_slice_name='{name}' needs matformer_config_path, the table of slices"
        )
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = {line.get(NAME): line for line in csv.DictReader(file, skipinitialspace=True)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"matformer_config_path '{path}' cannot be read: {error}") from error
    if name not in lines:
        known = ", ".join(str(one) for one in lines if one)
        raise ConfigError(f"'{path}' has no MatFormer slice '{name}'; it has: {known or 'none'}")
    line = lines[name]
    widths = numbers(line.get(WIDTHS), path, name)
    return Slice(name, tuple(widths), frozenset(numbers(line.get(SKIPPED), path, name)))


def numbers(text: str | None, path: str, name: str) -> list[int]:
    """The numbers of a bracketed list, in which products may stand: [2_048 * 4, 8_192]."""
    if not text or not text.strip():
        return []
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        assert isinstance(tree, ast.List)
        return [product(entry) for entry in tree.elts]
    except (SyntaxError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"'{path}', slice '{name}': {text!r} is no list of whole numbers"
        ) from error


def product(node: ast.expr) -> int:
    """A number, or a product of numbers."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return product(node.left) * product(node.right)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise ValueError("no number")


def refuse(architecture: str) -> None:
    """Raise NotSupportedError for a model that has no slices."""
    raise NotSupportedError(
        f"MatFormer slices are for Gemma 3n, not for {architecture}: leave matformer_slice_name out"
    )
