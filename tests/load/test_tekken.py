"""tekken.json: ids equal to byte pair encoding written down step by step."""

import base64
import json
import re

import pytest
import regex

from mistralrs.api.errors import ConfigError
from mistralrs.load import tekken
from tests.prompt import families
from tests.prompt.corpus import corpus

CONTENT = families.tekken()


def by_hand(text: str) -> list[int]:
    """The ids of a text: special tokens, then the best-ranked neighbors of every word join until none do."""
    special = tekken.special_tokens(CONTENT)
    used = CONTENT["config"]["default_vocab_size"] - len(special)

    vocab = [base64.b64decode(entry["token_bytes"]) for entry in CONTENT["vocab"][:used]]
    ranks = {token: rank for rank, token in enumerate(vocab)}
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, special)) + ")", text):
        if part in special:
            ids.append(special.index(part))
            continue
        for word in regex.findall(CONTENT["config"]["pattern"], part):
            ids += [len(special) + ranks[token] for token in joined(word.encode(), ranks)]
    return ids


def joined(word: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The tokens of a word; what is a token as a whole stays whole."""
    parts = [word] if word in ranks else [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [
            (ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks
        ]
        if not pairs:
            return parts
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def write(tmp_path, content):
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(content))
    return path


def test_ids_equal_byte_pair_encoding_by_hand(tmp_path):
    inner, _ = tekken.read(write(tmp_path, CONTENT), {})
    assert inner.get_vocab_size() == CONTENT["config"]["default_vocab_size"]
    for text in corpus(400):
        ids = inner.encode(text, add_special_tokens=False).ids
        assert ids == by_hand(text), text
        assert inner.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({}, [1, 3]),
        ({"add_bos_token": False}, [3]),
        ({"add_eos_token": True}, [1, 3, 2]),
    ],
)
def test_what_the_config_decides(tmp_path, config, ids):
    inner, completed = tekken.read(write(tmp_path, CONTENT), config)
    assert inner.encode("[INST]").ids == ids
    assert completed == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | config


def test_files_without_a_list_of_special_tokens(tmp_path):
    config = families.tekken(default_num_special_tokens=25, version="v3")["config"]
    size = config["default_vocab_size"] + 9
    old = {"config": config | {"default_vocab_size": size}, "vocab": CONTENT["vocab"]}
    inner, _ = tekken.read(write(tmp_path, old), {})
    names = [inner.id_to_token(id) for id in (1, 3, 4, 9, 11, 19, 20, 24)]
    assert names == [
        *("<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<pad>"),
        *("[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_24>"),
    ]
    assert inner.encode("a", add_special_tokens=False).ids == [25 + 97]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"config": {"pattern": "."}, "vocab": "x"},
        {**CONTENT, "vocab": [{"token_bytes": "!"}]},
        {**CONTENT, "vocab": CONTENT["vocab"][:300]},
        {**CONTENT, "config": {**CONTENT["config"], "pattern": "("}},
        {**CONTENT, "config": {**CONTENT["config"], "default_num_special_tokens": 2}},
        [],
    ],
)
def test_damaged_files(tmp_path, content):
    with pytest.raises(ConfigError, match=r"tekken\.json.*tokenizer_json"):
        tekken.read(write(tmp_path, content), {})
