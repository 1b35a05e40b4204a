"""The tokenizer and the chat template that a GGUF file carries in its metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
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

from mistralrs.api.errors import CheckpointError, NotSupportedError
from mistralrs.load import pieces
from mistralrs.load.gguf import Gguf
from mistralrs.load.gguf_splits import BEGUN, COMPOSED, SPLITS, WHOLE
from mistralrs.load.pieces import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER, Pieces

log = logging.getLogger("mistralrs.load")

ELSEWHERE = "name a model with tok_model_id, or a file with tokenizer_json"
# Tokens that end a turn wherever a vocabulary has them, as in llama.cpp.
ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
)
NAMED = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "sep_token": "seperator",  # the key is misspelled in the format
    "pad_token": "padding",
    "mask_token": "mask",
}


@dataclass(frozen=True)
class Vocabulary:
    """What the metadata says about tokens."""

    file: Gguf
    tokens: list[str]  # no two alike
    types: Sequence[int]
    scores: Sequence[float]

    @classmethod
    def of(cls, file: Gguf) -> Vocabulary:
        """Read and check the lists; raises CheckpointError when they do not fit together."""
        tokens = file.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise CheckpointError(f"{file.path} has no list of tokens: {ELSEWHERE}")
        lists = [_numbers(file, key, len(tokens)) for key in ("token_type", "scores")]
        types = lists[0] or [NORMAL] * len(tokens)
        return cls(file, _distinct(tokens), types, lists[1] or [0.0] * len(tokens))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of `tokenizer.ggml.`."""
        return self.file.metadata.get(f"tokenizer.ggml.{key}", default)

    @property
    def pre(self) -> str:
        """The name of the way to split words."""
        return str(self.get("pre", "default"))

    def named(self, role: str) -> str | None:
        """The token in a role such as "bos"."""
        id = self.get(f"{role}_token_id")
        return self.tokens[id] if type(id) is int and 0 <= id < len(self.tokens) else None

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id."""
        return {token: id for id, token in enumerate(self.tokens)}

    def of_type(self, *types: int) -> list[str]:
        """The tokens of some types."""
        return [t for t, kind in zip(self.tokens, self.types, strict=True) if kind in types]


def _numbers(file: Gguf, key: str, count: int) -> list[Any] | None:
    values = file.metadata.get(f"tokenizer.ggml.{key}")
    if values is None:
        return None
    if not isinstance(values, np.ndarray) or len(values) != count:
        raise CheckpointError(f"{file.path} has tokens and {key} of different lengths: {ELSEWHERE}")
    found: list[Any] = values.tolist()
    return found


def _distinct(tokens: list[str]) -> list[str]:
    """Tokens that are bytes without a meaning in UTF-8 may read alike: all but the last get another name."""
    last = {token: id for id, token in enumerate(tokens)}
    if len(last) == len(tokens):
        return tokens
    return [t if last[t] == id else f"[{id} like {t}]" for id, t in enumerate(tokens)]


def tokenizer_of(file: Gguf) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer, and what tokenizer_config.json would say; raises NotSupportedError, CheckpointError."""
    kind = str(file.metadata.get("tokenizer.ggml.model"))
    if kind not in KINDS:
        raise NotSupportedError(
            f"{file.path} has a tokenizer of kind '{kind}'; readable are {', '.join(KINDS)}: {ELSEWHERE}"
        )
    vocabulary = Vocabulary.of(file)
    build, bos, eos = KINDS[kind]
    try:
        tokenizer = build(vocabulary)
    except Exception as error:  # tokenizers raises bare Exception for every cause
        raise CheckpointError(
            f"the vocabulary of {file.path} is damaged ({error}): {ELSEWHERE}"
        ) from error
    add(tokenizer, vocabulary)
    bos = bos or (kind == "gpt2" and vocabulary.pre in BEGUN)
    frame(tokenizer, vocabulary, bos, eos)
    return tokenizer, config(vocabulary)


def describe(file: Gguf) -> dict[str, Any]:
    """What tokenizer_config.json would say, also of a vocabulary that cannot be read."""
    if "tokenizer.ggml.tokens" in file.metadata:
        return config(Vocabulary.of(file))
    return {"eos_token_id": [], "chat_template": templates(file)}


def add(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Make control and user-defined tokens ones that are found in the text before all others."""
    strip = "phi-3" in str(vocabulary.file.metadata.get("general.name", "")).lower()
    keep = ("<unk>", "<s>", "<|endoftext|>")

    def added(token: str, special: bool) -> AddedToken:
        rstrip = strip and token not in keep
        return AddedToken(token, special=special, normalized=False, rstrip=rstrip)

    special = [token for token in vocabulary.of_type(CONTROL, UNKNOWN) if token]
    tokenizer.add_special_tokens([added(token, True) for token in special])
    tokenizer.add_tokens([added(token, False) for token in vocabulary.of_type(USER) if token])


def frame(tokenizer: Tokenizer, vocabulary: Vocabulary, bos: bool, eos: bool) -> None:
    """Put BOS and EOS around a text where the file says so; `bos` and `eos` are the kind's custom."""
    first = vocabulary.named("bos") if vocabulary.get("add_bos_token", bos) else None
    last = vocabulary.named("eos") if vocabulary.get("add_eos_token", eos) else None
    if vocabulary.get("add_sep_token") or (eos and vocabulary.named("seperator")):
        last = vocabulary.named("seperator") or last
    used = [token for token in (first, last) if token is not None]
    if used:
        ids = [(token, vocabulary.ids[token]) for token in dict.fromkeys(used)]
        single = [*([first] if first else []), "$A", *([last] if last else [])]
        template = processors.TemplateProcessing(single=single, special_tokens=ids)
        after = tokenizer.post_processor
        tokenizer.post_processor = (
            template if after is None else processors.Sequence([after, template])
        )


def config(vocabulary: Vocabulary) -> dict[str, Any]:
    """Special tokens by name, ids that end a generation, and the chat template or templates."""
    names = {name: vocabulary.named(role) for name, role in NAMED.items()}
    ids = vocabulary.ids
    ends = [vocabulary.named(role) for role in ("eos", "eot", "eom")]
    found = [ids[token] for token in (*ends, *ENDS) if token in ids]
    out = {name: token for name, token in names.items() if token is not None}
    return out | {"eos_token_id": sorted(set(found)), "chat_template": templates(vocabulary.file)}


def templates(file: Gguf) -> str | list[dict[str, str]] | None:
    """The chat template, or several as tokenizer_config.json lists them."""
    key = "tokenizer.chat_template"
    default = file.metadata.get(key)
    named = {
        name.removeprefix(f"{key}."): text
        for name, text in file.metadata.items()
        if name.startswith(f"{key}.") and isinstance(text, str)
    }
    if not named:
        return default if isinstance(default, str) else None
    every = ({"default": default} if default else {}) | named
    return [{"name": name, "template": text} for name, text in every.items()]


# --- kinds ----------------------------------------------------------------------------------------


def byte_level(vocabulary: Vocabulary) -> Tokenizer:
    """BPE over bytes: GPT-2 and most models since."""
    merges = [pair.partition(" ")[::2] for pair in vocabulary.get("merges", [])]
    merges = known(merges, vocabulary.ids)
    model = models.BPE(vocabulary.ids, merges, ignore_merges=vocabulary.pre in WHOLE)
    tokenizer = Tokenizer(model)
    if vocabulary.pre in COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    splits = [
        pre_tokenizers.Split(Regex(expression), "isolated") for expression in splits_of(vocabulary)
    ]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def known(merges: list[tuple[str, str]], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges of tokens to a token: llama.cpp never reaches others, and the library panics at some."""
    kept = [(a, b) for a, b in merges if a in ids and b in ids and a + b in ids]
    if len(kept) < len(merges):
        log.warning("%d merges of unknown tokens are left out", len(merges) - len(kept))
    return kept


def splits_of(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The expressions that cut words; an unknown name gets the default with a warning."""
    if vocabulary.pre not in SPLITS:
        log.warning(
            "%s: pre-tokenizer '%s' is unknown, text may be split differently from training; %s",
            vocabulary.file.name, vocabulary.pre, ELSEWHERE,
        )  # fmt: skip
    return SPLITS.get(vocabulary.pre, SPLITS["default"])


def sentencepiece(vocabulary: Vocabulary) -> Tokenizer:
    """SentencePiece BPE, which takes the text as it is."""
    unknown = vocabulary.named("unknown") or next(iter(vocabulary.of_type(UNKNOWN)), None)
    return pieces.bpe(
        pieces_of(vocabulary, None if unknown is None else vocabulary.ids[unknown], fallback=True)
    )


def pieces_of(vocabulary: Vocabulary, unknown: int | None, **options: Any) -> Pieces:
    """The lists as SentencePiece has them."""
    return Pieces(
        tokens=vocabulary.tokens,
        types=vocabulary.types,
        scores=vocabulary.scores,
        unknown=unknown,
        prefix=vocabulary.get("add_space_prefix", True),
        **options,
    )


def word_piece(vocabulary: Vocabulary) -> Tokenizer:
    """BERT: the longest pieces of each word; GGUF marks the beginning of words, BERT their continuation."""
    ids = {}
    for id, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        inside = "##" + token if kind == NORMAL else token
        ids[token[1:] if token.startswith(SPACE) and kind == NORMAL else inside] = id
    unknown = vocabulary.named("unknown") or "[UNK]"
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), tokenizer.normalizer])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram(vocabulary: Vocabulary) -> Tokenizer:
    """T5: the most probable pieces of the normalized text."""
    charsmap = vocabulary.get("precompiled_charsmap")
    return pieces.unigram(
        pieces_of(
            vocabulary,
            vocabulary.get("unknown_token_id", 0),
            fallback=BYTE in vocabulary.types,
            squeeze=vocabulary.get("remove_extra_whitespaces", False),
            charsmap=b"" if charsmap is None else np.asarray(charsmap, np.uint8).tobytes(),
        )
    )


# Kind -> how to build it, and whether it begins with BOS and ends with EOS where the file does not say.
KINDS: Mapping[str, tuple[Callable[[Vocabulary], Tokenizer], bool, bool]] = {
    "gpt2": (byte_level, False, False),
    "llama": (sentencepiece, True, False),
    "bert": (word_piece, True, True),
    "t5": (unigram, False, True),
}
