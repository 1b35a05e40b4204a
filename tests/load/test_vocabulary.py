"""Where tokenizers are found, and whether they fit the model."""

import json
import logging
import re
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models

from mistralrs.api.errors import ConfigError
from mistralrs.load.hub import open_repo
from mistralrs.load.vocabulary import check_size, read_tokenizer
from tests.prompt.families import FAMILIES, tekken

BPE = FAMILIES["gpt 2"][0]()
TEKKEN = json.dumps(tekken())


def folder(path: Path, names: tuple[str, ...]) -> Path:
    """A model's folder with readable files of these names."""
    for name in names:
        if name == "tokenizer.json":
            BPE.save(str(path / name))
        elif name.startswith("tekken"):
            (path / name).write_text(TEKKEN)
        else:
            (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(
    ("names", "special"),
    [
        (("tokenizer.json",), "<|im_start|>"),
        (("tekken.json",), "[INST]"),
        (("tekken_2.json", "vocab.json"), "[INST]"),
        (("tokenizer.json", "tekken.json", "tokenizer.model"), "<|im_start|>"),
        (("tekken.json", "tokenizer.model"), "[INST]"),
    ],
)
def test_the_best_file_is_read(tmp_path, names, special):
    inner, _ = read_tokenizer(open_repo(folder(tmp_path, names)), None)
    assert inner.token_to_id(special) is not None
    assert (inner.token_to_id("[INST]") is None) == (special != "[INST]")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            (),
            r"none of tokenizer\.json, tekken\.json, tokenizer\.model, spiece\.model.*tokenizer_json",
        ),
        (("vocab.json", "merges.txt"), "none of.*tokenizer_json"),
        (("model.gguf",), r"Which\.GGUF"),
        (("tokenizer.model.v3",), r"tokenizer\.model\.v3 is not a readable SentencePiece"),
    ],
)
def test_a_missing_tokenizer_names_what_was_looked_for(tmp_path, names, text):
    with pytest.raises(ConfigError, match=text):
        read_tokenizer(open_repo(folder(tmp_path, names)), None)


def test_a_named_file(tmp_path):
    repo = open_repo(folder(tmp_path, ("tokenizer.json", "tekken.json")))
    inner, _ = read_tokenizer(repo, str(tmp_path / "tekken.json"))
    assert inner.token_to_id("[INST]") == 3
    with pytest.raises(ConfigError, match="no tokenizer file.*check tokenizer_json"):
        read_tokenizer(repo, str(tmp_path / "none.json"))


def test_older_files_beside_a_config(tmp_path):
    folder(tmp_path, ("tokenizer.json",))
    named = {"bos_token": {"content": "<s>"}, "pad_token": None}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(named))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": 9000}))
    _, config = read_tokenizer(open_repo(tmp_path), None)
    assert config["bos_token"] == named["bos_token"]
    assert config["added_tokens_decoder"]["9000"]["content"] == "<new>"
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {}}')
    _, config = read_tokenizer(open_repo(tmp_path), None)
    assert config == {"added_tokens_decoder": {}}


@pytest.mark.parametrize(
    ("rows", "warned"), [(5, None), (50, None), (4, "'<c>'"), (3, "2 added tokens .*'<b>', '<c>'")]
)
def test_added_tokens_beyond_the_embedding(caplog, rows, warned):
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, []))
    tokenizer.add_tokens([AddedToken("<b>", special=True), AddedToken("<c>")])
    with caplog.at_level(logging.WARNING, "mistralrs"):
        check_size(tokenizer, rows, "m")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (warned is not None)
    assert all(re.search(f"{warned}.*refused", message) for message in said)


def test_a_vocabulary_beyond_the_embedding():
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, []))
    with pytest.raises(ConfigError, match=r"ids up to 2.* 2 rows.*tokenizer_json"):
        check_size(tokenizer, 2, "m")
