"""TOML and JSON files -> a Config, whichever of its three shapes they have; docs/cli.md describes them."""

import json
from pathlib import Path
from typing import Any

from mistralrs.api.config import Config, whole
from mistralrs.api.errors import ConfigError, MistralRsError
from mistralrs.api.selector import selector, several


def read(file: str | Path) -> Config:
    """The configuration in a file; raises ConfigError that names the key at fault."""
    path = Path(file)
    raw = parse(path)
    try:
        if path.suffix == ".json":
            return several(raw)
        return selector(raw) if "model" in raw else whole(raw)
    except MistralRsError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(path: Path) -> dict[str, Any]:
    """The object in a file."""
    if path.suffix not in (".toml", ".json"):
        raise ConfigError(f"{path}: name a .toml file (or a .json file of several models)")
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else toml(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): check its name") from None
    except ValueError as error:  # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are
        raise ConfigError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must hold an object of models by label")
    return raw


def toml(text: str) -> dict[str, Any]:
    """TOML as a dict."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib

    return tomllib.loads(text)
