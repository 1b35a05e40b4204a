"""Where a model keeps its tokenizer, and how each kind of file is read."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mistralrs.api.errors import ConfigError
from mistralrs.load import sentencepiece, tekken
from mistralrs.load.hub import Repo

log = logging.getLogger("mistralrs.load")

Content = tuple[Tokenizer, dict[str, Any]]  # a tokenizer, and its tokenizer_config.json completed
Reader = Callable[[Path, Mapping[str, Any]], Content]


def read_json(path: Path, config: Mapping[str, Any]) -> Content:
    """tokenizer.json, the file of the `tokenizers` library."""
    try:
        return Tokenizer.from_file(str(path)), dict(config)
    except Exception as error:  # tokenizers raises bare Exception for every cause
        raise ConfigError(
            f"{path} is not a readable tokenizer.json ({error}); download it again or name another "
            "file with tokenizer_json"
        ) from error


# The names of tokenizer files, best first: what to call them in messages, a pattern, the reader.
FILES: tuple[tuple[str, str, Reader], ...] = (
    ("tokenizer.json", r"tokenizer\.json", read_json),
    ("tekken.json", r"tekken(_\w+)?\.json", tekken.read),
    ("tokenizer.model", r"tokenizer\.model(\.v\w+)?", sentencepiece.read),
    ("spiece.model", r"spiece\.model", sentencepiece.read),
)


def read_tokenizer(repo: Repo, named: str | None) -> Content:
    """The tokenizer in a file that the user names, or the best that the model has.

    Raises ConfigError for a file that is missing or cannot be read.
    """
    config = settings(repo)
    if named is not None:
        return read_named(named, config)
    for _, pattern, read in FILES:
        for name in sorted(repo.files, reverse=True):  # of several versions the last
            if re.fullmatch(pattern, name) and (found := repo.find(name)):
                return read(found, config)
    raise ConfigError(missing(repo))


def read_named(name: str, config: Mapping[str, Any]) -> Content:
    """The tokenizer in a file of any kind."""
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"there is no tokenizer file '{name}'; check tokenizer_json")
    return reader(path.name)(path, config)


def reader(name: str) -> Reader:
    """The reader for a file of this name: what ends in .model is SentencePiece's."""
    for _, pattern, read in FILES:
        if re.fullmatch(pattern, name):
            return read
    return sentencepiece.read if name.endswith(".model") else read_json


def settings(repo: Repo) -> dict[str, Any]:
    """tokenizer_config.json; where it does not list the added tokens, older files beside it do."""
    config = repo.json("tokenizer_config.json") or {}
    if "added_tokens_decoder" in config:
        return config
    named = repo.json("special_tokens_map.json") or {}
    added = repo.json("added_tokens.json") or {}
    older = {name: value for name, value in named.items() if value is not None}
    listed = {str(id): {"content": text, "normalized": False} for text, id in added.items()}
    return {**config, **older, **({"added_tokens_decoder": listed} if listed else {})}


def missing(repo: Repo) -> str:
    """What to say about a model without a tokenizer."""
    names = [name for name, _, _ in FILES]
    looked = f"'{repo.id}' has no tokenizer: none of {', '.join(names)} is there"
    if any(name.endswith(".gguf") for name in repo.files):
        return f"{looked}; load its GGUF file with Which.GGUF, or pass a tokenizer's path as tokenizer_json"
    return f"{looked}; pass the path of the base model's as tokenizer_json"


def check_size(tokenizer: Tokenizer, rows: int, name: str) -> None:
    """Say what is wrong with a tokenizer whose ids reach beyond the rows of the embedding.

    Added tokens beyond it are warned about; ConfigError where even the vocabulary itself reaches beyond it. Fewer
    tokens than rows are normal.
    """
    base = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if base >= rows:
        raise ConfigError(
            f"the tokenizer of '{name}' has ids up to {base}, but the model's embedding has {rows} rows: they do "
            "not belong together; download the model again, or name its own tokenizer with tokenizer_json"
        )
    beyond = sorted(id for id in tokenizer.get_added_tokens_decoder() if id >= rows)
    if beyond:
        tokens = [tokenizer.id_to_token(id) for id in beyond]
        log.warning(
            "%s: %d added tokens are beyond the model's embedding of %d rows (%s%s); prompts with them are refused",
            name, len(beyond), rows, ", ".join(map(repr, tokens[:4])), ", ..." if len(tokens) > 4 else "",
        )  # fmt: skip
