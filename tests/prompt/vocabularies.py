"""Tiny trained tokenizers of the three kinds that published models use."""

import json

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing

TEXTS = [
    "The quick brown fox jumps over the lazy dog. It's 10:30, and \"we\" can't wait!\n\n",
    "def f(x):\n    return [y ** 2 for y in x if y > 1]\n\tprint('tabs')\r\n",
    "Füße, naïve café, 你好世界, привет, 🦆🙂 and a zero\u200dwidth joiner.",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>"]
ADDED = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<think>", special=False, normalized=False),
    AddedToken("</think>", special=False, normalized=False),
    AddedToken("<tool_call>", special=True, normalized=False),
]
CONFIG = {
    "bos_token": "<s>",
    "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"},
    "unk_token": "<unk>",
    "pad_token": None,
}


def byte_level() -> Tokenizer:
    """GPT-2 and most models since: BPE over bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finish(tokenizer)


def byte_fallback() -> Tokenizer:
    """Llama 2, Mistral, Gemma: BPE over characters, with bytes for those it lacks."""
    trained = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator([text.replace(" ", "▁") for text in TEXTS[:2]], trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    names = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + pieces[len(SPECIAL) :]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: id for id, name in enumerate(names)},
            merges=[tuple(pair) for pair in model["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return _finish(tokenizer)


def unigram() -> Tokenizer:
    """SentencePiece unigram with a metaspace at the start of a word."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finish(tokenizer)


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.add_tokens(ADDED)
    return tokenizer


KINDS = {"byte_level": byte_level, "byte_fallback": byte_fallback, "unigram": unigram}
