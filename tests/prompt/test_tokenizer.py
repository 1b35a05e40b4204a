"""Tokenizing equals transformers, id for id, and survives threads."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import tokenizers
from tokenizers import models

from mistralrs.api.errors import ConfigError, RequestError
from mistralrs.load.vocabulary import read_json
from mistralrs.prompt.tokenizer import Tokenizer, eos_ids, special_names
from tests.prompt.conftest import Pair
from tests.prompt.vocabularies import CONFIG, KINDS

TEXTS = [
    "",
    " ",
    "  leading and trailing  ",
    "The lazy dog can't wait!",
    "line\n\n\nbreaks\r\n\ttabs",
    "你好世界 привет Füße 🦆👨‍👩‍👧 \u202e \x00 é",
    "<|im_start|>user\nHi<|im_end|>\n<think>\n</think><tool_call>",
    "<s></s><unk> </s>x",
    "a<0x41>▁b Ġc",
    "x" * 300,
]


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_equal_transformers(pair: Pair, text: str, special: bool):
    ids = pair.ours.encode(text, special)
    assert ids == pair.theirs.encode(text, add_special_tokens=special)
    for skip in (True, False):
        ours = pair.ours.decode(ids, skip)
        assert ours == pair.theirs.decode(
            ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )


@pytest.mark.parametrize(
    "extra",
    [
        {"add_bos_token": True, "add_eos_token": True},
        {"add_bos_token": False},
        {"add_eos_token": True},
        {"additional_special_tokens": ["<new>"], "pad_token": "<pad>"},
        {"added_tokens_decoder": {"9000": {"content": "<late>", "special": False}}},
        {"extra_special_tokens": {"image_token": "<image>"}},
    ],
    ids=lambda extra: ",".join(extra),
)
def test_tokenizer_config_acts_as_in_transformers(tmp_path, extra):
    from transformers import AutoTokenizer

    config = {**CONFIG, "tokenizer_class": "PreTrainedTokenizerFast", **extra}
    KINDS["byte_level"]().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.wrap(*read_json(tmp_path / "tokenizer.json", config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("one <new> two<pad>", "<late>x<image>", "</s>"):
        assert ours.encode(text) == theirs.encode(text)
        ids = ours.encode(text)
        assert ours.decode(ids, True) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.size == len(theirs)


def test_saved_truncation_and_padding_are_off(tmp_path):
    inner = KINDS["byte_level"]()
    inner.enable_truncation(4)
    inner.enable_padding(length=64)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.wrap(*read_json(tmp_path / "tokenizer.json", CONFIG))
    assert len(tokenizer.encode("x " * 20)) > 20
    assert len(tokenizer.encode("x")) == 2


def test_tokens_by_name(plain):
    assert (plain.bos, plain.eos, plain.unk) == ("<s>", "<|im_end|>", "<unk>")
    assert plain.id("<s>") == 1
    assert plain.id("no such token") is None
    assert plain.size == plain.id("<tool_call>") + 1
    assert plain.bytes(plain.id("Ġand")) == b" and"
    assert plain.bytes(plain.size) == b""


def test_bytes_of_a_text_join_to_the_text(tokenizer):
    text = "The dog: 10:30 café 🦆"
    ids = tokenizer.encode(text, special=False)
    joined = b"".join(map(tokenizer.bytes, ids)).decode(errors="replace")
    assert joined.lstrip() == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"bos_token": "<s>", "eos_token": None}, {"bos_token": "<s>"}),
        ({"unk_token": {"content": "<unk>"}}, {"unk_token": "<unk>"}),
        ({"extra_special_tokens": {"image_token": "<i>"}}, {"image_token": "<i>"}),
        ({"add_bos_token": True, "chat_template": "x"}, {}),
    ],
)
def test_special_names(config, names):
    assert special_names(config) == names


@pytest.mark.parametrize(
    ("generation", "config", "names"),
    [
        (None, None, {"<|im_end|>"}),
        ({"eos_token_id": 2}, {"eos_token_id": 0}, {"<|im_end|>", "</s>"}),
        ({"eos_token_id": [0, 2]}, None, {"<|im_end|>", "<unk>", "</s>"}),
        ({}, {"eos_token_id": 2}, {"<|im_end|>", "</s>"}),
        (None, {"text_config": {"eos_token_id": [2]}}, {"<|im_end|>", "</s>"}),
    ],
)
def test_eos_ids(plain, generation, config, names):
    assert eos_ids(plain, CONFIG, generation, config) == {plain.id(name) for name in names}


def test_threads_share_a_tokenizer(tokenizer):
    texts = [f"{number} {text}" for number in range(20) for text in TEXTS]
    expected = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == expected


def test_unreadable_files_name_the_fix(tmp_path, plain):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="tokenizer_json"):
        read_json(tmp_path / "tokenizer.json", {})
    with pytest.raises(RequestError, match="surrogates"):
        plain.encode("\ud800")


@pytest.mark.parametrize("added", [[], ["z"], ["a"], ["a", "z", "zz"]], ids=str)
@pytest.mark.parametrize(
    "vocabulary", [{}, {"a": 0, "b": 1}, {"a": 0, "b": 5}, {"a": 0, "b": 2, "c": 5}], ids=str
)
def test_size_is_one_beyond_the_highest_id(vocabulary, added):
    inner = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.add_tokens(added)
    assert Tokenizer(inner, {}).size == max(inner.get_vocab().values(), default=-1) + 1
