"""tokenizer.model files read without SentencePiece, equal to SentencePiece."""

import io
import re
from pathlib import Path

import pytest

from mistralrs.api.errors import ConfigError
from mistralrs.load import sentencepiece
from mistralrs.load.vocabulary import reader
from mistralrs.prompt.tokenizer import Tokenizer
from tests.prompt.corpus import corpus

spm = pytest.importorskip("sentencepiece")

RAW = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
NAME = re.compile("</?[a-z]+>")
SYMBOLS = ["<|im_start|>", "<think>"]
LLAMA = {"model_type": "bpe", "byte_fallback": True, "split_digits": True, **RAW}
GEMMA = {**LLAMA, "add_dummy_prefix": False, "allow_whitespace_only_pieces": True}
MODELS = {
    "llama": {**LLAMA, "user_defined_symbols": SYMBOLS},
    "gemma": GEMMA,
    "bpe": {"model_type": "bpe", "normalization_rule_name": "identity"},
    "t5": {"model_type": "unigram", "bos_id": -1, "pad_id": 0, "eos_id": 1, "unk_id": 2},
    "unigram": {"model_type": "unigram", "byte_fallback": True, **RAW},
}
# Texts of 1,000 on which we may differ. The library of transformers' fast tokenizers, which we use, breaks ties
# between equally probable pieces in another order (unigram), and applies compiled normalization rules to whole
# characters instead of code points, which matters for rare combining marks (t5).
DIFFER = {"unigram": 10, "t5": 110}


def train(name: str, path: Path) -> "spm.SentencePieceProcessor":
    """A tiny model, written to `path`."""
    texts = [text.replace("\n", " ") for text in corpus(700, special=False, seed=2)]
    content = io.BytesIO()
    common = {"vocab_size": 2500, "hard_vocab_limit": False, "character_coverage": 0.98}
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=content,
        minloglevel=2,
        num_threads=1,
        **common,
        **MODELS[name],
    )
    path.write_bytes(content.getvalue())
    return spm.SentencePieceProcessor(model_proto=content.getvalue())


@pytest.mark.parametrize("name", MODELS)
def test_ids_and_text_equal_sentencepiece(tmp_path: Path, name: str):
    theirs = train(name, tmp_path / "tokenizer.model")
    inner, config = sentencepiece.read(tmp_path / "tokenizer.model", {})
    ours = Tokenizer.wrap(inner, config)
    assert ours.size == len(theirs)
    different = 0
    for text in corpus(1000, special=False):
        ids = theirs.encode(text)
        different += ours.encode(text, special=False) != ids
        if theirs.unk_id() not in ids and not {"\ufffd", "▁"} & set(text):
            assert ours.decode(ids) == theirs.decode(ids)
    assert different <= DIFFER.get(name, 0)


def test_user_defined_symbols_are_part_of_the_text(llama):
    theirs = spm.SentencePieceProcessor(model_file=str(llama))
    inner, _ = sentencepiece.read(llama, {})
    texts = [
        text for text in corpus(3000) if not {"<s>", "</s>", "<unk>"} & set(NAME.findall(text))
    ]
    assert sum("<think>" in text for text in texts) > 50
    for text in texts:
        if text not in SYMBOLS:
            assert inner.encode(text, add_special_tokens=False).ids == theirs.encode(text), text


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    """One model of the Llama kind."""
    path = tmp_path_factory.mktemp("llama") / "tokenizer.model"
    train("llama", path)
    return path


@pytest.mark.parametrize(
    ("config", "text", "tokens"),
    [
        ({}, "a", ["<s>", "▁a"]),
        ({}, "a<|im_start|>a", ["<s>", "▁a", "<|im_start|>", "a"]),
        ({}, "a</s>a<|im_start|>", ["<s>", "▁a", "</s>", "▁a", "<|im_start|>"]),
        ({"legacy": False}, "a</s>a", ["<s>", "▁a", "</s>", "a"]),
        ({"legacy": True}, "</s>", ["<s>", "</s>"]),
        ({"add_prefix_space": False}, "a", ["<s>", "a"]),
        ({"add_bos_token": False, "add_eos_token": True}, "a", ["▁a", "</s>"]),
        ({"bos_token": {"content": "<think>"}}, "a", ["<think>", "▁a"]),
    ],
)
def test_what_the_config_decides(llama, config, text, tokens):
    inner, _ = sentencepiece.read(llama, config)
    assert inner.encode(text).tokens == tokens


def test_names_and_frames(llama, tmp_path):
    _, config = sentencepiece.read(llama, {"eos_token": "<|im_start|>", "unk_token": None})
    assert config == {"bos_token": "<s>", "eos_token": "<|im_start|>", "unk_token": "<unk>"}
    train("t5", tmp_path / "spiece.model")
    inner, config = sentencepiece.read(tmp_path / "spiece.model", {})
    assert inner.encode("a").tokens[-1] == "</s>"
    assert "bos_token" not in config


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"IQ== 0\nIg== 1\n", b"\x0a\xff", b"\x0b\x01", b"\x0a\x03\x0a\x05abc"],
)
def test_damaged_files(tmp_path, content):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.model.*tokenizer_json"):
        reader(path.name)(path, {})


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.999])
def test_truncated_files(llama, tmp_path, keep):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(llama.read_bytes()[: int(llama.stat().st_size * keep)])
    with pytest.raises(ConfigError, match="download it again"):
        sentencepiece.read(path, {})


def test_models_of_words_are_refused(tmp_path):
    MODELS["word"] = {"model_type": "word"}
    train("word", tmp_path / "tokenizer.model")
    del MODELS["word"]
    with pytest.raises(ConfigError, match="only BPE and unigram"):
        sentencepiece.read(tmp_path / "tokenizer.model", {})
