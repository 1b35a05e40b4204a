"""SentencePiece vocabularies, whatever file they came in, as tokenizers of the `tokenizers` library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # types of pieces
SPACE = "▁"
BYTE_NAME = "<(?=0x[0-9A-F]{2}>)"  # text that reads like the name of a byte


@dataclass(frozen=True)
class Pieces:
    """A vocabulary and how it wants its text; `tokens`, `types` and `scores` are parallel."""

    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    unknown: int | None = 0  # id
    prefix: bool = True  # a space in front of the text
    once: bool = False  # ... and not again after a special token
    squeeze: bool = False  # runs of spaces become one, those at the ends go
    charsmap: bytes = field(default=b"", repr=False)  # compiled rules of normalization
    fallback: bool = False  # characters without a piece become bytes

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id."""
        return {token: id for id, token in enumerate(self.tokens)}

    def of_type(self, *types: int) -> list[str]:
        """The tokens of some types."""
        return [t for t, kind in zip(self.tokens, self.types, strict=True) if kind in types]


def bpe(pieces: Pieces) -> Tokenizer:
    """Neighbors join, the best-scored union first."""
    model = models.BPE(
        vocab=pieces.ids,
        merges=merges_of(pieces),
        unk_token=None if pieces.unknown is None else pieces.tokens[pieces.unknown],
        byte_fallback=pieces.fallback,
        fuse_unk=True,
    )
    return _surrounded(Tokenizer(model), pieces)


def unigram(pieces: Pieces) -> Tokenizer:
    """The most probable pieces of the text."""
    scored = list(zip(pieces.tokens, map(float, pieces.scores), strict=True))
    model = models.Unigram(scored, unk_id=pieces.unknown, byte_fallback=pieces.fallback)
    tokenizer = _surrounded(Tokenizer(model), pieces)
    if pieces.fallback:  # the names of bytes are in the model's lattice, though they spell no text
        apart = pre_tokenizers.Split(Regex(BYTE_NAME), "merged_with_previous")
        before = tokenizer.pre_tokenizer
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([before, apart] if before else [apart])
    return tokenizer


def merges_of(pieces: Pieces) -> list[tuple[str, str]]:
    """Every pair of pieces whose union is a piece, best score first; then as SentencePiece lists them."""
    ids, found = pieces.ids, []
    for token, kind, score in zip(pieces.tokens, pieces.types, pieces.scores, strict=True):
        if kind not in (NORMAL, USER, UNUSED):
            continue
        for cut in range(1, len(token)):
            left, right = ids.get(token[:cut]), ids.get(token[cut:])
            if left is not None and right is not None:
                found.append((-score, left, right))
    found.sort()
    return [(pieces.tokens[left], pieces.tokens[right]) for _, left, right in found]


def frame(tokenizer: Tokenizer, first: str | None, last: str | None) -> None:
    """Put a token before and after every text; None for no such token."""
    used = [token for token in dict.fromkeys((first, last)) if token is not None]
    if not used:
        return
    ids = [(token, tokenizer.token_to_id(token)) for token in used]
    single = [*([first] if first else []), "$A", *([last] if last else [])]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)


def decoder(prefix: bool) -> decoders.Decoder:
    """▁ and byte tokens to text, without the space that was put in front."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)


def _surrounded(tokenizer: Tokenizer, pieces: Pieces) -> Tokenizer:
    """What surrounds the model: the normalization of text, and the way back."""
    steps: list[normalizers.Normalizer] = []
    if pieces.charsmap:
        steps.append(normalizers.Precompiled(pieces.charsmap))
    if pieces.squeeze:
        ends = normalizers.Replace(Regex(rf"\A +|[ {SPACE}]+\z"), "")
        steps += [normalizers.Replace(Regex(" {2,}"), " "), ends]
    if pieces.prefix and pieces.once:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        steps += [_prefix(pieces.of_type(USER))] if pieces.prefix else []
        steps.append(normalizers.Replace(" ", SPACE))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoder(pieces.prefix)
    return tokenizer


def _prefix(symbols: Sequence[str]) -> normalizers.Normalizer:
    """A space in front of a text, but not of a text that is a symbol: the library normalizes those as well."""
    if not symbols:
        return normalizers.Prepend(SPACE)
    names = "|".join(map(re.escape, symbols))
    return normalizers.Replace(Regex(rf"\A(?=[\s\S])(?!(?:{names})\z)"), SPACE)


def add(tokenizer: Tokenizer, pieces: Pieces) -> None:
    """Make control and user-defined pieces tokens that are found in the text before all others.

    Text around a control token is text of its own; a user-defined symbol is part of its text.
    """
    for special, kinds in ((True, (UNKNOWN, CONTROL)), (False, (USER,))):
        listed = [token for token in pieces.of_type(*kinds) if token]
        tokenizer.add_tokens(
            [AddedToken(t, special=special, normalized=not special) for t in listed]
        )
