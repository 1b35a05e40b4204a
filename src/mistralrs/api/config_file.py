"""TOML and JSON files -> a ConfigFile, whichever of its three shapes they have; docs/cli.md describes them."""

import json
import os
from pathlib import Path
from typing import Any

from mistralrs.api import check
from mistralrs.api.config import ConfigFile, ConfigModel, whole
from mistralrs.api.errors import MistralRsError, NotSupportedError, RequestError
from mistralrs.api.selector import selector, several

__all__ = ["ConfigFile", "ConfigModel", "read"]


def read(path: str | os.PathLike[str]) -> ConfigFile:
    """Read and check a file; raises RequestError, which says where the mistake is."""
    file = Path(check.path("path", path)).expanduser()
    try:
        raw = load(file)
        if file.suffix == ".json":
            return several(raw)
        return selector(raw) if "model" in raw else whole(raw)
    except NotSupportedError as error:
        raise NotSupportedError(f"{file}: {error}") from None
    except MistralRsError as error:
        raise RequestError(f"{file}: {error}") from None


def load(file: Path) -> dict[str, Any]:
    """The object in a file."""
    if file.suffix not in (".toml", ".json"):
        raise RequestError("must be a .toml file, or a .json file of several models")
    try:
        text = file.read_text(encoding="utf-8")
        raw = json.loads(text) if file.suffix == ".json" else toml(text)
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are
        raise RequestError(f"is not valid {file.suffix[1:].upper()} ({error})") from None
    if not isinstance(raw, dict):
        raise RequestError("must hold an object of models by label")
    return raw


def toml(text: str) -> dict[str, Any]:
    """TOML as a dict."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib

    return tomllib.loads(text)
