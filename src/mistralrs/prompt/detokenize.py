"""Token ids to text one at a time, equal to decoding them all at once and without decoding anything twice."""

import codecs
import json
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Protocol

import tokenizers

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
ANCHOR = (
    "a"  # a piece of text that no decoder changes; what follows it is not at the start of the text
)


class Detokenizer(Protocol):
    """Ids in, text out as soon as no later id can change it."""

    def push(self, id: int) -> str:
        """Take one id and return the text that became certain."""
        ...

    def flush(self) -> str:
        """Return the rest; an incomplete character becomes U+FFFD."""
        ...


class Vocabulary:
    """What every id of a tokenizer contributes to a text."""

    def __init__(self, inner: tokenizers.Tokenizer, special: Collection[int]) -> None:
        self.token: Callable[[int], str | None] = lru_cache(maxsize=None)(inner.id_to_token)
        self.special = special
        self.join: Callable[[list[str]], str] = inner.decoder.decode if inner.decoder else " ".join
        self.byte_level = "ByteLevel" in _kinds(inner)
        has_bytes = "ByteFallback" in _kinds(inner)
        self.is_byte: Callable[[str], object] = BYTE.fullmatch if has_bytes else lambda token: False

    def bytes(self, id: int) -> bytes:
        """Return the UTF-8 bytes that `id` adds after other text; empty for an unknown id."""
        token = self.token(id)
        if token is None:
            return b""
        if self.byte_level:
            return level_bytes(token)
        if self.is_byte(token):
            return bytes([int(token[1:-1], 16)])
        return self.join([ANCHOR, token])[len(ANCHOR) :].encode()

    def stream(self, skip: Collection[int], inside: bool = False) -> Detokenizer:
        """Start an incremental decoder that leaves out the ids in `skip`, at the start of a text or `inside` it."""
        return ByteStream(self, skip) if self.byte_level else PieceStream(self, skip, inside)


class ByteStream:
    """Byte-level vocabularies: the text is the UTF-8 decoding of all tokens' bytes joined."""

    def __init__(self, vocabulary: Vocabulary, skip: Collection[int]) -> None:
        self._vocabulary = vocabulary
        self._skip = skip
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """Take one id and return the characters that it completed."""
        return "" if id in self._skip else self._utf8.decode(self._vocabulary.bytes(id))

    def flush(self) -> str:
        """Return U+FFFD for a character that was never completed."""
        return self._utf8.decode(b"", final=True)


class PieceStream:
    """Vocabularies of text pieces: only the first piece and runs of `<0xNN>` depend on their neighbors.

    A run of byte tokens is valid or invalid as a whole, so it is held until another piece ends it.
    """

    def __init__(self, vocabulary: Vocabulary, skip: Collection[int], inside: bool) -> None:
        self._vocabulary = vocabulary
        self._skip = skip
        self._before = [ANCHOR] if inside else []
        self._held: list[str] = []

    def push(self, id: int) -> str:
        """Take one id and return its text, with the byte run that it ended in front."""
        token = self._vocabulary.token(id)
        if id in self._skip or token is None:
            return ""
        self._held.append(token)
        return "" if self._vocabulary.is_byte(token) else self.flush()

    def flush(self) -> str:
        """Return the text of the held pieces."""
        text = self._vocabulary.join(self._before + self._held)[len("".join(self._before)) :]
        if text or self._before:  # as long as nothing is said, the next piece is still the first
            self._before, self._held = [ANCHOR], []
        return text


def level_bytes(token: str) -> bytes:
    """Return the bytes that a byte-level token spells; a token with other characters is plain text."""
    try:
        return bytes(LEVEL[character] for character in token)
    except KeyError:
        return token.encode()


def _level() -> dict[str, int]:
    """The alphabet of byte-level BPE (GPT-2): printable bytes are themselves, others follow U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(others)}


LEVEL = _level()


def _kinds(inner: tokenizers.Tokenizer) -> Sequence[str]:
    """Return the names of the steps of a decoder."""
    decoder = json.loads(inner.decoder.__getstate__()) if inner.decoder else {}
    steps = decoder.get("decoders", [decoder])
    return [step.get("type", "") for step in steps]
