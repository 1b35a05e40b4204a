"""Text to token ids and back: one loaded tokenizer.json, safe to share between threads."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from mistralrs.api.errors import ConfigError, RequestError
from mistralrs.prompt.detokenize import Detokenizer, Vocabulary

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")


class Tokenizer:
    """A tokenizer with its special tokens. Nothing changes after construction, so threads need no lock."""

    def __init__(self, inner: tokenizers.Tokenizer, names: Mapping[str, str]) -> None:
        """`names` maps `bos_token`, `eos_token`, ... to their strings."""
        inner.no_truncation()
        inner.no_padding()
        self.names = dict(names)
        self.size = size(inner)
        added = inner.get_added_tokens_decoder()
        self.special = frozenset(id for id, token in added.items() if token.special)
        self.added = {token.content: id for id, token in added.items()}
        self.vocabulary = Vocabulary(inner, self.special)
        self.inner = inner

    @classmethod
    def wrap(cls, inner: tokenizers.Tokenizer, config: Mapping[str, Any]) -> "Tokenizer":
        """Complete a tokenizer from any source with the tokens that `config` names.

        What frames a text is the tokenizer's own: add_bos_token and add_eos_token are ignored, as in
        transformers.
        """
        names = special_names(config)
        listed = config.get("added_tokens_decoder") or {}
        inner.add_tokens([_added(listed[key]) for key in sorted(listed, key=int)])
        known = {token.content for token in inner.get_added_tokens_decoder().values()}
        missing = [name for name in [*names.values(), *_extra(config)] if name not in known]
        inner.add_tokens([AddedToken(name, special=True, normalized=False) for name in missing])
        return cls(inner, names)

    @property
    def bos(self) -> str | None:
        """The token that begins a sequence."""
        return self.names.get("bos_token")

    @property
    def eos(self) -> str | None:
        """The token that ends a sequence."""
        return self.names.get("eos_token")

    @property
    def unk(self) -> str | None:
        """The token that stands for unknown text."""
        return self.names.get("unk_token")

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of `text`; `special` adds what the tokenizer frames a text with, such as BOS."""
        try:
            return self.inner.encode(text, add_special_tokens=special).ids
        except (TypeError, UnicodeError) as error:  # what tokenizers raises for a lone surrogate
            raise RequestError(
                "the text is not valid Unicode; remove its unpaired surrogates, for example with "
                "text.encode('utf-8', 'replace').decode()"
            ) from error

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """Return the text of `ids`, optionally without special tokens."""
        return self.inner.decode(ids, skip_special_tokens=skip_special)

    def id(self, token: str) -> int | None:
        """Return the id of a token given as it stands in the vocabulary."""
        return self.inner.token_to_id(token)

    def bytes(self, id: int) -> bytes:
        """Return what token `id` adds to the UTF-8 text when it stands after other text."""
        return self.vocabulary.bytes(id)

    def stream(self, keep: Collection[str] = (), inside: bool = False) -> Detokenizer:
        """Start an incremental decoder that skips special tokens except those in `keep`; `inside` a text its first
        token keeps its blank.
        """
        ids = {self.added[token] for token in keep if token in self.added}
        return self.vocabulary.stream(self.special - ids, inside)


def size(inner: tokenizers.Tokenizer) -> int:
    """Return the highest id and 1, without a copy of the vocabulary where it has no gaps, as most."""
    count: int = inner.get_vocab_size(with_added_tokens=True)
    if None not in map(inner.id_to_token, range(count)):
        return count
    return max(inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the named special tokens of a tokenizer_config.json, each a string or an object with `content`."""
    extra = config.get("extra_special_tokens")
    named: dict[str, Any] = {name: config.get(name) for name in NAMED}
    if isinstance(extra, Mapping):
        named.update(extra)
    texts = {name: _content(token) for name, token in named.items()}
    return {name: text for name, text in texts.items() if text is not None}


def eos_ids(
    tokenizer: Tokenizer,
    tokenizer_config: Mapping[str, Any] | None,
    generation_config: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
) -> frozenset[int]:
    """Return every id that ends a sequence: the EOS token, well-known ends of turns, and the configured ids.

    The ids of config.json count only where generation_config.json names none.
    """
    eos = special_names(tokenizer_config or {}).get("eos_token", tokenizer.eos)
    named = [tokenizer.id(token) for token in (eos, *ENDS) if token is not None]
    listed = _ids(generation_config) or _ids(config) or _ids((config or {}).get("text_config"))
    return frozenset([id for id in named if id is not None] + listed)


ENDS = (
    "<|im_end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
)  # end a turn wherever the vocabulary has them


def _ids(config: Mapping[str, Any] | None) -> list[int]:
    ids = (config or {}).get("eos_token_id")
    return [] if ids is None else list(ids) if isinstance(ids, list) else [ids]


def _content(token: object) -> str | None:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _extra(config: Mapping[str, Any]) -> Iterable[str]:
    lists = (config.get("additional_special_tokens"), config.get("extra_special_tokens"))
    tokens = [token for listed in lists if isinstance(listed, list) for token in listed]
    return [text for text in map(_content, tokens) if text is not None]


def _added(token: Mapping[str, Any]) -> AddedToken:
    return AddedToken(token["content"], **{flag: token[flag] for flag in FLAGS if flag in token})


def read_config(path: Path | None) -> dict[str, Any]:
    """Return a JSON file of the model as a dict; empty when there is no such file."""
    if path is None:
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable JSON ({error}); download it again") from error
