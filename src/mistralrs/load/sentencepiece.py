"""tokenizer.model: the protocol buffer that SentencePiece writes, read without its library.

Field numbers: sentencepiece_model.proto of github.com/google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mistralrs.api.errors import ConfigError
from mistralrs.load import pieces
from mistralrs.load.pieces import BYTE, NORMAL, UNKNOWN, Pieces

Value = int | bytes
PIECES, TRAINER, NORMALIZER = 1, 2, 3  # of the model
TEXT, SCORE, TYPE = 1, 2, 3  # of a piece
MODEL, UNK, BOS, EOS, PAD = 3, 40, 41, 42, 43  # of the trainer
CHARSMAP, PREFIX, SQUEEZE = 2, 3, 4  # of the normalizer
MODELS: Mapping[int, Callable[[Pieces], Tokenizer]] = {1: pieces.unigram, 2: pieces.bpe}
ROLES = {
    "unk_token": (UNK, 0),
    "bos_token": (BOS, 1),
    "eos_token": (EOS, 2),
    "pad_token": (PAD, -1),
}


@dataclass(frozen=True)
class Model:
    """A read file: its pieces, the kind of model, and the tokens in a role such as `bos_token`."""

    pieces: Pieces
    kind: int
    names: Mapping[str, str]


def read(path: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer at `path`, and `config` (tokenizer_config.json) with the special tokens it leaves out.

    A text begins with BOS, or ends with EOS where the vocabulary has no BOS, unless `config` decides with
    add_bos_token and add_eos_token. Raises ConfigError.
    """
    model = parse(path, config)
    if model.kind not in MODELS:
        raise ConfigError(
            f"{path} is a SentencePiece model of words or characters; only BPE and unigram models can be "
            "read: name another tokenizer with tokenizer_json"
        )
    try:
        tokenizer = MODELS[model.kind](model.pieces)
        pieces.add(tokenizer, model.pieces)
    except Exception as error:  # tokenizers raises bare Exception for every cause
        raise ConfigError(
            f"the vocabulary of {path} is damaged ({error}): download it again"
        ) from error
    given = {name: value for name, value in config.items() if value is not None}
    _frame(tokenizer, {**model.names, **given})
    return tokenizer, {**model.names, **given}


def parse(path: Path, config: Mapping[str, Any]) -> Model:
    """Read a file; `config` may say otherwise about the space in front."""
    try:
        top = list(fields(path.read_bytes()))
        listed = [_piece(value) for number, value in top if number == PIECES]
        trainer, normalizer = _message(top, TRAINER), _message(top, NORMALIZER)
        if not listed:
            raise ValueError("no pieces")
        names = _names(trainer, [text for text, _, _ in listed])
    except (ValueError, IndexError, TypeError, struct.error) as error:
        raise ConfigError(
            f"{path} is not a readable SentencePiece model ({error}): download it again, or name another "
            "tokenizer with tokenizer_json"
        ) from error
    tokens, scores, types = zip(*listed)
    prefix = config.get("add_prefix_space")
    vocabulary = Pieces(
        tokens=tokens,
        types=types,
        scores=scores,
        unknown=types.index(UNKNOWN) if UNKNOWN in types else 0,
        prefix=bool(normalizer.get(PREFIX, 1) if prefix is None else prefix),
        once=config.get("legacy") is False,
        squeeze=bool(normalizer.get(SQUEEZE, 1)),
        charsmap=_bytes(normalizer.get(CHARSMAP, b"")),
        fallback=BYTE in types,
    )
    return Model(vocabulary, _signed(trainer.get(MODEL, 1)), names)


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of every field of a protocol buffer message, in the order of the file."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: Value
        if key & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _size(key & 7, data, at)
            value, at = data[at : at + size], at + size
        if at > len(data):
            raise ValueError("the file ends too early")
        yield key >> 3, value


def _size(wire: int, data: bytes, at: int) -> tuple[int, int]:
    """How many bytes a value has, and where it begins."""
    if wire == 2:
        return _varint(data, at)
    if wire in (1, 5):
        return (8 if wire == 1 else 4), at
    raise ValueError(f"unknown wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _message(top: list[tuple[int, Value]], number: int) -> dict[int, Value]:
    return {
        key: value for found, data in top if found == number for key, value in fields(_bytes(data))
    }


def _piece(data: Value) -> tuple[str, float, int]:
    found = dict(fields(_bytes(data)))
    score = struct.unpack("<f", _bytes(found[SCORE]))[0] if SCORE in found else 0.0
    return _bytes(found.get(TEXT, b"")).decode(), score, _signed(found.get(TYPE, NORMAL))


def _names(trainer: Mapping[int, Value], tokens: list[str]) -> dict[str, str]:
    ids = {name: _signed(trainer.get(field, usual)) for name, (field, usual) in ROLES.items()}
    return {name: tokens[id] for name, id in ids.items() if 0 <= id < len(tokens)}


def _frame(tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    bos, eos = (_known(tokenizer, config.get(name)) for name in ("bos_token", "eos_token"))
    first = bos if config.get("add_bos_token", True) else None
    last = eos if config.get("add_eos_token", bos is None) else None
    pieces.frame(tokenizer, first, last)


def _known(tokenizer: Tokenizer, token: Any) -> str | None:
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) and tokenizer.token_to_id(text) is not None else None


def _signed(value: Value) -> int:
    """An int32 or enum: negative numbers come as 64-bit two's complement."""
    if not isinstance(value, int):
        raise ValueError("a number is expected")
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("text is expected")
    return value
