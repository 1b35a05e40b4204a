"""config.json in one spelling, whatever version of transformers wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch

from mistralrs.api.errors import ConfigError, NotSupportedError


class MissingKey(ConfigError, AttributeError):
    """A needed key is not in config.json; also an AttributeError, so that `hasattr` works."""


class Config:
    """config.json over an architecture's defaults: `cfg.hidden_size`; nested objects too.

    An explicit null in the file wins over a default. Derived or normalised are `head_dim`,
    `num_key_value_heads`, `tie_word_embeddings`, `sliding_window`, `layer_types`, and the
    properties below. Architectures give rope defaults as `rope_theta` or `rope_parameters`.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
        file: str = "config.json",
    ):
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{file} must hold a JSON object, not {type(raw).__name__}")
        self.raw = raw
        self.file = file
        defaults = defaults or {}
        self._values = {**defaults, **raw}
        self._values |= _derived(self._values, file)
        for key, value in self._values.items():
            if isinstance(value, Mapping) and key not in _ROPE_KEYS:
                self._values[key] = Config(raw.get(key, {}), defaults.get(key), f"{file}: {key}")

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # copy and pickle probe for private names before __init__ has run
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            close = difflib.get_close_matches(key, self._values, 1)
            hint = f" (it has '{close[0]}')" if close else ""
            message = f"{self.file} has no '{key}'{hint}, which this architecture needs"
            raise MissingKey(message) from None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` when it is absent or null."""
        value = self._values.get(key)
        return default if value is None else value

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    @property
    def text(self) -> Config:
        """The language model's part: `text_config` of a multimodal file, else the whole."""
        return self._values.get("text_config") or self

    @cached_property
    def rope(self) -> dict[str, dict[str, Any]]:
        """Rotary settings by layer type, or under "default" when all layers share them.

        Each has `rope_type`, `rope_theta`, `partial_rotary_factor` and what its type needs.
        """
        return _rope(self._values, self.file)

    @property
    def eos(self) -> tuple[int, ...]:
        """Token ids that end a generation."""
        return eos_ids(self.raw, self.raw.get("text_config"))

    @property
    def dtype(self) -> str | None:
        """Name of the dtype that the file gives to its weights, such as "bfloat16"."""
        named = self._values.get("dtype") or self._values.get("torch_dtype")
        if named is None and self.text is not self:
            return self.text.dtype
        return None if named is None else str(named).removeprefix("torch.")


_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


def _derived(values: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The keys that other keys imply and that old files leave out."""
    out: dict[str, Any] = {"tie_word_embeddings": values.get("tie_word_embeddings") or False}
    heads, hidden = values.get("num_attention_heads"), values.get("hidden_size")
    for key in _SIZES:
        if isinstance(values.get(key), int) and values[key] < 1:
            raise ConfigError(f"{file}: {key} is {values[key]}, it must be at least 1")
    if isinstance(heads, int):
        out["num_key_value_heads"] = values.get("num_key_value_heads") or heads
    if isinstance(heads, int) and isinstance(hidden, int):
        out["head_dim"] = values.get("head_dim") or hidden // heads
    return out | _windows(values)


def _windows(values: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers slide, from `max_window_layers` (Qwen) or `sliding_window_pattern` (Gemma)."""
    out: dict[str, Any] = {}
    if "use_sliding_window" in values:
        out["sliding_window"] = (
            values.get("sliding_window") if values["use_sliding_window"] else None
        )
    layers, window = values.get("num_hidden_layers"), out.get("sliding_window")
    if values.get("layer_types") is not None or not isinstance(layers, int):
        return out
    every = values.get("sliding_window_pattern")
    if "use_sliding_window" in values:
        first = values.get("max_window_layers", layers) if window else layers
        slides = [i >= first for i in range(layers)]
    elif isinstance(every, int):
        slides = [(i + 1) % every != 0 for i in range(layers)]
    else:
        return out
    return out | {"layer_types": ["sliding_attention" if s else "full_attention" for s in slides]}


_ROPE_KEYS = ("rope_parameters", "rope_scaling")
_SCALED = (
    "llama3",
    "yarn",
    "longrope",
)  # types that need the training length
_RENAMED = {"su": "longrope", "mrope": "default"}


def _rope(values: Mapping[str, Any], file: str) -> dict[str, dict[str, Any]]:
    """Merge `rope_theta`, `rope_scaling`, `rope_parameters` and companions, old or new."""
    given: Any = next(
        (values[key] for key in ("rope_scaling", "rope_parameters") if values.get(key)), {}
    )
    if not isinstance(given, Mapping):
        raise ConfigError(f"{file}: rope settings must be an object or null, not {given!r}")
    nested = {key: value for key, value in given.items() if isinstance(value, Mapping)}
    local = values.get("rope_local_base_freq")
    if not nested and local is None:
        return {"default": _rope_of(given, values)}
    if not nested:
        nested = {"full_attention": given, "sliding_attention": {}}
    thetas = {"sliding_attention": local} if local is not None else {}
    return {kind: _rope_of(one, values, thetas.get(kind)) for kind, one in nested.items()}


def _rope_of(
    given: Mapping[str, Any], values: Mapping[str, Any], theta: float | None = None
) -> dict[str, Any]:
    """One layer type's settings, completed from the top level."""
    out = {key: value for key, value in given.items() if key != "type"}
    kind = given.get("rope_type") or given.get("type") or "default"
    # Phi 3 called its scheme "su" or "yarn" before "longrope"; its factors tell.
    out["rope_type"] = "longrope" if "short_factor" in given else _RENAMED.get(kind, kind)
    if out.get("rope_theta") is None:
        out["rope_theta"] = theta or values.get("rope_theta") or 10000.0
    if out.get("partial_rotary_factor") is None:
        out["partial_rotary_factor"] = values.get("partial_rotary_factor") or 1.0
    if out["rope_type"] in _SCALED:
        trained = values.get("original_max_position_embeddings") or out.get(
            "original_max_position_embeddings"
        )
        out["original_max_position_embeddings"] = trained or values.get("max_position_embeddings")
    return out


def eos_ids(*files: Mapping[str, Any] | None) -> tuple[int, ...]:
    """`eos_token_id` (number, list or null) of config.json, generation_config.json..., united."""
    found: list[int] = []
    for file in files:
        ids = (file or {}).get("eos_token_id")
        found += ids if isinstance(ids, list) else [] if ids is None else [ids]
    return tuple(dict.fromkeys(found))


_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def choose_dtype(
    requested: Any, config: Config, device: torch.device | str, stored: torch.dtype | None = None
) -> torch.dtype:
    """The model's dtype for `requested` ("auto", "bf16", "f16", "f32", any case, or a ModelDType).

    "auto" on a CPU is the checkpoint's own (`stored`, else what config.json says), so that weights
    stay as they are in the file. A GPU takes bfloat16 from compute capability 8.0, float16 from
    5.3. Raises ConfigError for another name.
    """
    name = str(getattr(requested, "value", requested) or "auto").lower()
    if name in _DTYPES:
        return _DTYPES[name]
    if name != "auto":
        raise ConfigError(f"dtype '{requested}' is unknown: use one of auto, {', '.join(_DTYPES)}")
    device = torch.device(device)
    if device.type == "cuda":
        return _cuda_dtype(
            min(map(torch.cuda.get_device_capability, range(torch.cuda.device_count())))
        )
    if device.type != "cpu":
        return next(
            (d for d in (torch.bfloat16, torch.float16) if _multiplies(d, device)), torch.float32
        )
    best = stored or getattr(torch, config.dtype or "float32", None)
    return next((dtype for dtype in _DTYPES.values() if dtype == best), torch.float32)


def _cuda_dtype(capability: tuple[int, int]) -> torch.dtype:
    """The fastest dtype of the weakest visible GPU."""
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (5, 3) else torch.float32


def _multiplies(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device multiplies matrices of this dtype."""
    try:
        x = torch.ones(2, 2, dtype=dtype, device=device)
        return bool((x @ x == 2).all())
    except (RuntimeError, TypeError):
        return False


# Heads that no generating architecture has: falling back to model_type would drop them silently.
_OTHER_TASKS = ("Classification", "QuestionAnswering", "RewardModel", "MaskedLM")


def architecture_of(config: Mapping[str, Any], known: Mapping[str, str]) -> str:
    """The registry key of a config.json: by class name in `architectures`, else by `model_type`.

    `known` maps class names to keys. Raises NotSupportedError with the nearest known name.
    """
    classes = config.get("architectures") or []
    classes = [classes] if isinstance(classes, str) else classes
    matches = {known[name] for name in classes if name in known}
    if len(matches) == 1:
        return matches.pop()
    kind = config.get("model_type")
    other = any(task in name for name in classes for task in _OTHER_TASKS)
    if kind in known.values() and not other:
        return str(kind)
    raise NotSupportedError(_unknown(classes, kind, known))


def _unknown(classes: list[str], kind: str | None, known: Mapping[str, str]) -> str:
    unnamed = f"model_type {kind!r}" if kind else "a config.json that names none"
    named = " or ".join(map(repr, classes)) or unnamed
    close = next(
        (m for name in classes for m in difflib.get_close_matches(name, known, 1, 0.7)), None
    )
    nearest = f" The nearest known one is {close}." if close else ""
    return (
        f"no architecture for {named}.{nearest} Known: {', '.join(sorted(known))}; if it is one of "
        "these under another name, pass arch"
    )
