"""Tokenizers from GGUF metadata against those that the metadata was made from."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from mistralrs.api.errors import CheckpointError, NotSupportedError
from mistralrs.load.gguf import Gguf
from mistralrs.load.gguf_splits import GPT2, GPT4, HAN, O200K, QWEN, SPLITS, TEKKEN
from mistralrs.load.gguf_tokenizer import CONTROL, NORMAL, SPACE, UNKNOWN, USER, tokenizer_of
from tests.prompt.vocabularies import TEXTS, byte_fallback

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
STRINGS = [
    *TEXTS[:3],
    "",
    " ",
    "   leading, trailing   ",
    "a\n\n\nb\t\tc\r\n d",
    "I'LL DON'T you've 'S",
    "123456789 3.14 x=1;y!=2 //* $$ <|im_start|>user\nhi<|im_end|><think>x</think>",
    "naïve ÉCOLE Straße 你好，世界。 привет नमस्ते e\u0301 🦆👩‍👩‍👧 \u3000wide\u00a0nbsp",
    "CamelCase snake_case aaaa aaaaaaaa      x",
]


def gguf(kind: str, tokens, types, **more) -> Gguf:
    metadata = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(types, np.int32),
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }
    return Gguf(Path(__file__), metadata, {})


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """A byte-level vocabulary; its own way of splitting words does not matter."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = BYTES
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=BYTES.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


ADDED = {
    "<s>": CONTROL,
    "<|im_start|>": CONTROL,
    "<|im_end|>": CONTROL,
    "<think>": USER,
    "</think>": USER,
}


def from_byte_level(tokenizer: Tokenizer, **more) -> Gguf:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    types = [NORMAL] * len(tokens) + list(ADDED.values())
    return gguf("gpt2", tokens + list(ADDED), types, merges=merges, **more)


@pytest.mark.parametrize(
    ("pre", "splits"),
    [
        ("gpt-2", [GPT2]),
        ("llama-bpe", [GPT4]),
        ("qwen2", [QWEN]),
        ("starcoder", [r"\p{N}", GPT2]),
        ("tekken", [TEKKEN]),
        ("gpt-4o", [O200K]),
        ("deepseek-coder", ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"]),
    ],
)
def test_byte_level(trained, pre, splits):
    expected = Tokenizer.from_str(trained.to_str())
    expected.pre_tokenizer = pre_tokenizers.Sequence(
        [*(pre_tokenizers.Split(Regex(one), "isolated") for one in splits), BYTES]
    )
    if pre == "qwen2":
        expected.normalizer = normalizers.NFC()
    if pre in ("llama-bpe", "tekken"):
        expected.model.ignore_merges = True
    expected.decoder = decoders.ByteLevel()
    expected.add_special_tokens([t for t, kind in ADDED.items() if kind == CONTROL])
    expected.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    found, _ = tokenizer_of(from_byte_level(trained, pre=pre, add_bos_token=False))
    for text in STRINGS:
        ids = expected.encode(text).ids
        assert found.encode(text).ids == ids, text
        composed = normalize("NFC", text) if pre == "qwen2" else text
        assert found.decode(ids, skip_special_tokens=False) == composed


def test_gpt2_splits_equal_the_built_in_ones():
    """The expression is that of ByteLevel's own splitting."""
    split, built = pre_tokenizers.Split(Regex(GPT2), "isolated"), pre_tokenizers.ByteLevel(False)
    for text in STRINGS:
        ours = [span for _, span in split.pre_tokenize_str(text)]
        assert ours == [span for _, span in built.pre_tokenize_str(text)]


def test_every_split_compiles_and_loses_nothing():
    for name, splits in SPLITS.items():
        cut = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(one), "isolated") for one in splits]
        )
        for text in STRINGS:
            assert "".join(word for word, _ in cut.pre_tokenize_str(text)) == text, name


def test_unknown_split_warns(trained, caplog):
    tokenizer_of(from_byte_level(trained, pre="new-model"))
    assert "pre-tokenizer 'new-model' is unknown" in caplog.text


def test_framing_and_config(trained):
    first = trained.get_vocab_size()
    roles = dict(bos_token_id=first, eos_token_id=first + 2, eot_token_id=first + 1)
    file = from_byte_level(trained, pre="llama-bpe", **roles)
    file.metadata["tokenizer.chat_template"] = "A"
    tokenizer, config = tokenizer_of(file)
    assert tokenizer.encode("x").ids[0] == first  # this kind begins with BOS
    assert len(tokenizer.encode("x", add_special_tokens=False).ids) == 1
    assert config["bos_token"] == "<s>"
    assert config["eos_token"] == "<|im_end|>"
    assert config["eos_token_id"] == [first + 1, first + 2]
    assert config["chat_template"] == "A"
    file.metadata["tokenizer.chat_template.tool_use"] = "B"
    file.metadata["tokenizer.ggml.add_bos_token"] = False
    file.metadata["tokenizer.ggml.add_eos_token"] = True
    tokenizer, config = tokenizer_of(file)
    assert tokenizer.encode("x").ids[-1] == first + 2
    assert tokenizer.encode("x").ids[0] != first
    assert config["chat_template"] == [
        {"name": "default", "template": "A"},
        {"name": "tool_use", "template": "B"},
    ]


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(prefix):
    expected = byte_fallback()
    model = json.loads(expected.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    rank = {"".join(pair): -float(i) for i, pair in reversed(list(enumerate(model["merges"])))}
    added = {t["content"]: t for t in json.loads(expected.to_str())["added_tokens"]}
    extra = sorted((t for t in added if t not in tokens), key=lambda t: added[t]["id"])
    types = [UNKNOWN, CONTROL, CONTROL] + [6] * 256 + [NORMAL] * (len(tokens) - 259)
    types += [CONTROL if added[t]["special"] else USER for t in extra]
    scores = np.array([rank.get(t, -1e4) for t in tokens + extra], np.float32)
    more = dict(scores=scores, unknown_token_id=0, bos_token_id=1, eos_token_id=2)
    found, _ = tokenizer_of(gguf("llama", tokens + extra, types, add_space_prefix=prefix, **more))
    if not prefix:
        expected.normalizer = found.normalizer
        expected.decoder = found.decoder
    for text in STRINGS:
        ids = expected.encode(text).ids
        assert found.encode(text).ids == ids, text
        assert found.decode(ids[1:]) == expected.decode(ids[1:])
    assert found.encode("x").ids[0] == 1


def test_best_score_joins_first():
    tokens = ["<unk>", SPACE, "a", "b", "c", "ab", "bc", "abc"]
    scores = np.array([0, -9, -9, -9, -9, -2, -1, -3], np.float32)
    types = [UNKNOWN] + [NORMAL] * 7
    more = dict(scores=scores, add_space_prefix=False, add_bos_token=False)
    tokenizer, _ = tokenizer_of(gguf("llama", tokens, types, **more))
    assert tokenizer.encode("abc").tokens == ["abc"]
    assert tokenizer.encode("abcab").tokens == ["abc", "ab"]


def test_word_piece():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "believ", "able", "▁,", "▁你"]
    types = [CONTROL] * 4 + [NORMAL] * 5
    roles = dict(unknown_token_id=1, bos_token_id=2, seperator_token_id=3)
    tokenizer, _ = tokenizer_of(gguf("bert", tokens, types, **roles))
    assert tokenizer.encode("Unbelievable, 你 xyz").ids == [2, 4, 5, 6, 7, 8, 1, 3]


def test_unigram():
    tokens = ["<pad>", "</s>", "<unk>", "▁", "▁hello", "▁he", "llo", "▁world"]
    scores = np.array([0, 0, 0, -5, -2, -1, -1.5, -2], np.float32)
    types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * 5
    roles = dict(scores=scores, unknown_token_id=2, eos_token_id=1, remove_extra_whitespaces=True)
    tokenizer, _ = tokenizer_of(gguf("t5", tokens, types, **roles))
    assert tokenizer.encode(" hello   world ").ids == [4, 7, 1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"model": "rwkv"},
            NotSupportedError,
            "kind 'rwkv'; readable are gpt2, llama.*tok_model_id",
        ),
        ({"model": None}, NotSupportedError, "kind 'None'"),
        ({"tokens": None}, CheckpointError, "no list of tokens"),
        ({"tokens": [1, 2]}, CheckpointError, "no list of tokens"),
        ({"token_type": np.array([1])}, CheckpointError, "token_type of different lengths"),
        ({"scores": [1.0]}, CheckpointError, "scores of different lengths"),
        ({"merges": ["a b", "zz yy", "nothing"]}, None, ""),
        ({"merges": ["[unused9] [unused8]"]}, None, ""),  # the library panics at it
        ({"bos_token_id": 99, "add_bos_token": True}, None, ""),
    ],
)
def test_bad_metadata(change, error, message):
    file = gguf("gpt2", ["a", "b", "ab", "ab"], [1, 1, 1, 1], pre="gpt-2")
    file.metadata.update({f"tokenizer.ggml.{key}": value for key, value in change.items()})
    if error is None:
        assert tokenizer_of(file)[0].encode("ab").ids
    else:
        with pytest.raises(error, match=message):
            tokenizer_of(file)
