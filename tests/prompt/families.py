"""Tiny vocabularies of every published tokenizer family, trained on the corpus."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tokenizers.processors import TemplateProcessing

from mistralrs.load.gguf_splits import GPT2, GPT4, QWEN, TEKKEN
from mistralrs.load.tekken import spell
from tests.prompt.corpus import SPECIAL, corpus

TEXTS = corpus(700, special=False, seed=2)
CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
FRAME = SPECIAL[:3]  # <s> </s> <unk>
# Tokens found in text; one of them is no special token.
ADDED = [AddedToken(text, special=text != "<think>", normalized=False) for text in SPECIAL[3:]]


def byte_level(pattern: str, normal: bool = False, whole: bool = False) -> Tokenizer:
    """BPE over the bytes of words that `pattern` cuts."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    if normal:
        tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, trainers.BpeTrainer, initial_alphabet=ALPHABET)


def fallback(prefix: bool) -> Tokenizer:
    """SentencePiece BPE with bytes: Llama 2 and Mistral with `prefix`, Gemma without."""
    trained = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=FRAME, limit_alphabet=200, show_progress=False
    )
    trained.train_from_iterator([text.replace(" ", "▁")[:80] for text in TEXTS], trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    names = FRAME + [f"<0x{byte:02X}>" for byte in range(256)] + pieces[len(FRAME) :]
    merges = [tuple(pair) for pair in model["merges"]]
    ids = {name: id for id, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    ways = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*ways, decoders.Strip(" ", 1, 0)] if prefix else ways)
    return finish(tokenizer)


def unigram() -> Tokenizer:
    """T5: the most probable pieces of normalized text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return train(tokenizer, trainers.UnigramTrainer, TEXTS[:150], unk_token="<unk>")


def word_piece() -> Tokenizer:
    """BERT: the longest pieces of lowercase words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train(tokenizer, trainers.WordPieceTrainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def train(
    tokenizer: Tokenizer, trainer: Callable[..., Any], texts: list[str] = TEXTS, **options: Any
) -> Tokenizer:
    """Learn a vocabulary of texts."""
    size = {"vocab_size": 2000, "special_tokens": FRAME, "show_progress": False}
    tokenizer.train_from_iterator(texts, trainer(**size, **options))
    return finish(tokenizer)


def finish(tokenizer: Tokenizer) -> Tokenizer:
    """BOS in front, and tokens that are found in text."""
    begin = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[begin])
    tokenizer.add_tokens(ADDED)
    return tokenizer


def tekken(**changes: Any) -> dict[str, Any]:
    """The content of a tekken.json; `changes` replace entries of its config."""
    ids = json.loads(byte_level(TEKKEN).to_str())["model"]["vocab"]
    level = {spell(bytes([byte])): byte for byte in range(256)}
    learned = [token for token in ids if token not in FRAME and len(token) > 1]
    spelled = [bytes(level[c] for c in token) for token in sorted(learned, key=ids.get)]
    tokens = [bytes([byte]) for byte in range(256)] + spelled
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *SPECIAL[3:]]
    config = {
        "pattern": TEKKEN,
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": len(vocab) - 20 + 16,  # the last 20 are not in use
        "default_num_special_tokens": 16,
        "version": "v11",
    }
    listed = [{"rank": r, "token_str": text, "is_control": True} for r, text in enumerate(special)]
    return {"config": config | changes, "vocab": vocab, "special_tokens": listed}


# Family -> its vocabulary, and the class that published configs of the family name.
FAMILIES: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "llama 3": (lambda: byte_level(GPT4, whole=True), "PreTrainedTokenizerFast"),
    "qwen 2": (lambda: byte_level(QWEN, normal=True), "Qwen2Tokenizer"),
    "gpt 2": (lambda: byte_level(GPT2), "GPT2Tokenizer"),
    "llama 2": (lambda: fallback(True), "PreTrainedTokenizerFast"),
    "gemma": (lambda: fallback(False), "GemmaTokenizer"),
    "t5": (unigram, "PreTrainedTokenizerFast"),
    "bert": (word_piece, "BertTokenizer"),
}


def save(folder: Path, family: str, kind: str | None = None) -> dict[str, Any]:
    """Write tokenizer.json and tokenizer_config.json of a family, and return the latter's content."""
    build, usual = FAMILIES[family]
    build().save(str(folder / "tokenizer.json"))
    ends = {"cls_token": "<s>", "sep_token": "</s>"} if family == "bert" else {}
    config = {
        **CONFIG,
        **ends,
        "tokenizer_class": kind or usual,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return config
