"""The files of one model, in a directory or on the Hugging Face hub, fetched as they are asked for."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistralrs.api.errors import CheckpointError, ConfigError, ModelNotFoundError
from mistralrs.load.download import Hub, cache_directory, read_token

LARGEST = 1 << 20  # bytes of a config.json; real ones have some KB


@dataclass(frozen=True)
class Repo:
    """The files of one model: `files` names them, `fetch` brings some of them to the disk."""

    id: str
    files: tuple[str, ...]
    fetch: Callable[[Sequence[str]], list[Path]]

    def names(self) -> list[str]:
        """Every file name, relative to the top with forward slashes."""
        return list(self.files)

    def find(self, name: str) -> Path | None:
        """The local path of a file, downloaded if need be; None when the model has no such file."""
        return self.fetch([name])[0] if name in self.files else None

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON file that holds an object; None when the model has no such file."""
        path = self.find(name)
        if path is None:
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is not valid JSON ({error}): download it again") from error
        if not isinstance(value, dict):
            raise ConfigError(f"{path} must hold a JSON object, not {type(value).__name__}")
        return value

    def weights(self) -> list[Path]:
        """The weight files, safetensors before pickles, every shard of them or a CheckpointError."""
        for single, shard, index in _WEIGHTS:
            if names := _shards(self, single, shard, index):
                return self.fetch(names)
        raise CheckpointError(_no_weights(self))


# Single file, shard with number and count, index; in order of preference. UQFF models keep what is
# not quantized in residual.safetensors.
_WEIGHTS = (
    (r"model\.safetensors", r"model-(\d+)-of-(\d+)\.safetensors", "model.safetensors.index.json"),
    (r"residual\.safetensors", r"(?!)", ""),
    (
        r"pytorch_model\.(?:bin|pth|pt)",
        r"pytorch_model-(\d{5})-of-(\d{5})\.(?:bin|pth|pt)",
        "pytorch_model.bin.index.json",
    ),
)


def _shards(repo: Repo, single: str, shard: str, index: str) -> list[str]:
    """The files of one form that are all there; empty when the model does not have the form."""
    numbered = [name for name in repo.files if re.fullmatch(shard, name)]
    if index in repo.files:
        wanted = _indexed(repo, index)
    else:
        wanted = [name for first in numbered[:1] for name in _counted(first, shard)]
    missing = [name for name in wanted if name not in repo.files]
    if wanted and not missing:
        return wanted
    # A single file beside an index without shards is a repository that was merged or requantized.
    if whole := [name for name in repo.files if re.fullmatch(single, name)]:
        return whole[:1]
    if missing:
        raise CheckpointError(
            f"'{repo.id}' lacks {len(missing)} of its {len(wanted)} weight files "
            f"({', '.join(missing)}): download it again"
        )
    return []


def _indexed(repo: Repo, index: str) -> list[str]:
    """The files that an index names, once each."""
    table = (repo.json(index) or {}).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{index} of '{repo.id}' has no 'weight_map': download it again")
    return sorted(set(map(str, table.values())))


def _counted(name: str, shard: str) -> list[str]:
    """All names of a numbered set, from one of them."""
    found = re.fullmatch(shard, name)
    assert found, (name, shard)
    (start, end), width = found.span(1), len(found[1])
    return [f"{name[:start]}{i:0{width}}{name[end:]}" for i in range(1, int(found[2]) + 1)]


# What a repository without loadable weights may hold instead, and what to do about it.
_INSTEAD = (
    (".gguf", "it has GGUF files: load one of them with Which.GGUF"),
    (".uqff", "it has UQFF files: name one of them with from_uqff"),
    ("adapter_model.safetensors", "it is an adapter: load its base model with Which.Lora"),
    ("consolidated", "it has only the original release's files: use a repository in hub format"),
)


def _no_weights(repo: Repo) -> str:
    hints = [hint for mark, hint in _INSTEAD if any(mark in name for name in repo.files)]
    hint = hints[0] if hints else f"its files are {', '.join(repo.files[:12]) or 'none at all'}"
    return (
        f"'{repo.id}' has no model.safetensors, no pytorch_model.bin and no shards of them; {hint}"
    )


def open_repo(
    model_id: str | os.PathLike[str],
    *,
    token_source: str = "cache",
    cache: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    progress: bool | None = None,
) -> Repo:
    """The model in a local directory, or else the hub's of that id (`revision`: main).

    `token_source`: see `read_token`. `cache`: the download directory, before HF_HUB_CACHE and
    HF_HOME. `progress`: bars on stderr, by default when it is a terminal. HF_HUB_OFFLINE=1, or a
    hub that cannot be reached, leaves what is in the cache. Raises ModelNotFoundError, AccessError.
    """
    name = os.fspath(model_id)
    path = Path(name).expanduser()
    if path.is_dir():
        return _directory(path, name)
    if path.exists() or _looks_like_path(name):
        raise ModelNotFoundError(_no_directory(path, name))
    token = read_token(token_source)
    folder = Path(cache).expanduser() if cache else cache_directory()
    bars = sys.stderr.isatty() if progress is None else progress
    try:
        files, fetch = Hub(name, revision or "main", folder, token, bars).open()
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error}{_nearest(path)}") from error
    return Repo(name, files, fetch)


def open_config(name: str, revision: str | None, token: str | None, folder: Path) -> Repo:
    """The small files of a model that a stranger names: of the hub alone, never a directory of this machine.

    What is fetched goes to `folder`, and nothing large does.
    """
    hub = Hub(name, revision or "main", folder, token, bars=False, most=LARGEST)
    return Repo(name, *hub.open())


# --- directories ----------------------------------------------------------------------------------


def _directory(path: Path, name: str) -> Repo:
    found = [*path.glob("*"), *path.glob("*/*")]  # a pipeline's parts lie one level deep
    files = sorted(file.relative_to(path).as_posix() for file in found if file.is_file())
    return Repo(name, tuple(files), lambda names: [path / one for one in names])


def _looks_like_path(name: str) -> bool:
    """Whether a string can only be a path: hub ids are `name` or `owner/name`."""
    return (
        name.startswith((".", "/", "~", "\\"))
        or name.endswith(("/", "\\"))
        or name.count("/") > 1
        or "\\" in name
        or bool(re.match(r"[A-Za-z]:", name))
    )


def _no_directory(path: Path, name: str) -> str:
    if path.is_file():
        gguf = " and load it with Which.GGUF" if path.suffix == ".gguf" else ""
        return f"'{name}' is a file: give its directory, '{path.parent}'{gguf}"
    return f"'{name}' looks like a path, but there is no such directory{_nearest(path)}"


def _nearest(path: Path) -> str:
    """A did-you-mean over the directories beside a missing one."""
    if not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    close = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean '{path.parent / close[0]}'?" if close else ""
