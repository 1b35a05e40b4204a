"""Every test that takes `pair` or `tokenizer` runs for three kinds of vocabulary."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mistralrs.load.vocabulary import read_json
from mistralrs.prompt.tokenizer import Tokenizer
from tests.prompt.vocabularies import CONFIG, KINDS


@dataclass(frozen=True)
class Pair:
    """One tokenizer directory, read by us and by transformers."""

    folder: Path
    ours: Tokenizer
    theirs: Any


@pytest.fixture(scope="session", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same files through both libraries."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param]().save(str(folder / "tokenizer.json"))
    named = {**CONFIG, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    ours = Tokenizer.wrap(*read_json(folder / "tokenizer.json", named))
    return Pair(folder, ours, AutoTokenizer.from_pretrained(folder))


@pytest.fixture(scope="session")
def tokenizer(pair: Pair) -> Tokenizer:
    """Our tokenizer of the pair."""
    return pair.ours


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """One byte-level tokenizer, for what does not depend on the kind."""
    path = tmp_path_factory.mktemp("plain") / "tokenizer.json"
    KINDS["byte_level"]().save(str(path))
    return Tokenizer.wrap(*read_json(path, CONFIG))
