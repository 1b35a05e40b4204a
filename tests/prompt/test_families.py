"""Tricky texts through every family of tokenizers, equal to transformers in both directions.

The suite takes 1,500 texts of each family; `MISTRALRS_TEXTS=10000` takes more.
"""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from mistralrs.load import tekken
from mistralrs.load.vocabulary import read_json
from mistralrs.prompt.tokenizer import Tokenizer
from tests.prompt import families
from tests.prompt.corpus import corpus
from tests.prompt.families import FAMILIES

COUNT = int(os.environ.get("MISTRALRS_TEXTS", 1500))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """The texts of all families."""
    return corpus(COUNT)


def test_the_corpus_is_the_same_every_time_and_covers_what_it_says(texts):
    assert texts[:50] == corpus(50)
    every = "".join(texts)
    assert {"Cc", "Lo", "Mn", "So"} <= set(map(unicodedata.category, every))
    assert all(part in every for part in ("\u200d", "\ufffd", "<s>", "▁", "\r\n", "<0x41>", "٣٤"))
    assert max(map(len, texts)) > 200


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_equals_transformers(tmp_path: Path, texts: list[str], family: str):
    from transformers import AutoTokenizer

    config = families.save(tmp_path, family)
    ours = Tokenizer.wrap(*read_json(tmp_path / "tokenizer.json", config))
    equal(ours, AutoTokenizer.from_pretrained(tmp_path), texts)


def test_tekken_equals_transformers(tmp_path: Path, texts: list[str]):
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.mistral.tokenizer import MistralConverter

    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(families.tekken()))
    ours = Tokenizer.wrap(*tekken.read(path, {"add_bos_token": False}))
    theirs = MistralConverter(str(path)).converted()
    equal(ours, PreTrainedTokenizerFast(tokenizer_object=theirs), texts)


def equal(ours: Tokenizer, theirs: Any, texts: list[str]) -> None:
    """Ids, text, text without special tokens, and text token by token are the same."""
    options = {"clean_up_tokenization_spaces": False}
    for text in texts:
        ids = ours.encode(text)
        assert ids == theirs.encode(text), text
        assert ours.decode(ids) == theirs.decode(ids, **options), text
        short = theirs.decode(ids, skip_special_tokens=True, **options)
        stream = ours.stream()
        assert "".join(map(stream.push, ids)) + stream.flush() == short, text
