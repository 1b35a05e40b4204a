"""tekken.json: Mistral's byte-level vocabularies, ranked byte strings behind the special tokens.

Format: `Tekkenizer` of github.com/mistralai/mistral-common.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from mistralrs.api.errors import ConfigError
from mistralrs.load.pieces import frame

# Files of the first versions do not list their special tokens: these are meant.
UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def read(path: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer at `path`, and `config` (tokenizer_config.json) with the special tokens it leaves out.

    A text begins with BOS unless `config` has add_bos_token false. Raises ConfigError.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tokenizer = build(content)
    except Exception as error:  # of JSON and base64, of wrong types, and tokenizers' bare Exception
        raise ConfigError(
            f"{path} is not a readable tekken.json ({error!r}): download it again, or name another "
            "tokenizer with tokenizer_json"
        ) from error
    names = {
        role: token for role, token in NAMES.items() if tokenizer.token_to_id(token) is not None
    }
    given = {name: value for name, value in config.items() if value is not None}
    first = names.get("bos_token") if given.get("add_bos_token", True) else None
    frame(tokenizer, first, names.get("eos_token") if given.get("add_eos_token") else None)
    return tokenizer, {**names, **given}


def build(content: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a parsed file describes, without BOS."""
    settings = content["config"]
    special = special_tokens(content)
    size = settings.get("default_vocab_size") or len(special) + len(content["vocab"])
    listed = content["vocab"][: size - len(special)]  # the file may hold more than the model uses
    ranked = [base64.b64decode(entry["token_bytes"]) for entry in listed]
    if ranked[:256] != [bytes([byte]) for byte in range(256)]:
        raise ValueError("the first 256 tokens are not the bytes")
    if len(special) + len(ranked) < size:
        raise ValueError(f"{size} tokens are announced, {len(special) + len(ranked)} are there")
    spelled = [spell(token) for token in ranked]
    ids = {token: id for id, token in enumerate(special)}
    ids |= {token: len(special) + rank for rank, token in enumerate(spelled) if token not in ids}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges_of(spelled), ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(settings["pattern"]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def special_tokens(content: Mapping[str, Any]) -> list[str]:
    """The special tokens by rank, with names for those that the file only counts."""
    listed = content.get("special_tokens")
    if listed is None:
        names = list(UNLISTED)
    else:
        names = [entry["token_str"] for entry in sorted(listed, key=lambda entry: entry["rank"])]
    count = content["config"].get("default_num_special_tokens") or len(names)
    if count < len(names):
        raise ValueError(f"{len(names)} special tokens are listed, {count} are announced")
    return names + [f"<SPECIAL_{rank}>" for rank in range(len(names), count)]


def merges_of(ranked: Sequence[str]) -> list[tuple[str, str]]:
    """Every pair of tokens whose union is a token, by the union's rank."""
    ranks = {token: rank for rank, token in enumerate(ranked)}
    found = []
    for rank, token in enumerate(ranked):
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        both = [(ranks[a], ranks[b]) for a, b in pairs if a in ranks and b in ranks]
        found += [(rank, left, right) for left, right in both]
    found.sort()
    return [(ranked[left], ranked[right]) for _, left, right in found]


def spell(token: bytes) -> str:
    """Bytes in the alphabet of byte-level BPE, where every byte has a visible character."""
    return "".join(ALPHABET[byte] for byte in token)


def _alphabet() -> list[str]:
    """Printable bytes are themselves, the others follow U+0100 (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


ALPHABET = _alphabet()
