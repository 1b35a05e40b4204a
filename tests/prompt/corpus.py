"""Tricky texts, the same ones every time: what breaks tokenizers, mixed by a seeded generator."""

import random
import sys
import unicodedata
from collections.abc import Callable
from functools import cache

WORDS = ["the", "The", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "it's", "WE'LL"]
WORDS += ["don't", "naïve", "Füße", "co-operate"]
CODE = [
    "def f(x):\n    return [y ** 2 for y in x if y > 1]\n",
    "\tif (a&&b||!c) { x+=1; } // note\r\n",
    '{"key": [1, -2.5e10, null, true], "s": "\\u00e9\\n"}',
    "<html><body class='a'>&nbsp;</body></html>",
    "SELECT * FROM t WHERE a='b''c';--",
    "$\\frac{a_1}{b^2}$ \\begin{align}",
    "https://example.org/a%20b?q=1&r=%C3%A9#top",
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\xa0"]
SPACES += [
    "\u2003",
    "\u2009",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u3000",
    "\u200b",
    "\ufeff",
    "▁",
    " ▁ ",
]
EMOJI = ["🦆", "🙂", "👨‍👩‍👧‍👦", "👩🏽‍🚀", "🏳️‍🌈", "🇩🇪", "🇫🇷🇯🇵", "1️⃣", "☎️", "❤️‍🔥", "🧑🏿‍🤝‍🧑🏻"]
SCRIPTS = {
    "han": (0x4E00, 0x9FFF),
    "kana": (0x3041, 0x30FF),
    "hangul": (0xAC00, 0xD7A3),
    "jamo": (0x1100, 0x11FF),
    "cyrillic": (0x400, 0x4FF),
    "greek": (0x370, 0x3FF),
    "arabic": (0x600, 0x6FF),
    "hebrew": (0x5D0, 0x5EA),
    "devanagari": (0x900, 0x97F),
    "thai": (0xE01, 0xE5B),
    "tibetan": (0xF00, 0xFDA),
    "latin": (0xC0, 0x24F),
    "full width": (0xFF01, 0xFF5E),
    "private": (0xE000, 0xE0FF),
    "beyond 16 bits": (0x1F000, 0x1FAFF),
    "old": (0x10000, 0x10FFF),
}
MARKS = "\u0301\u0308\u0327\u0303\u20dd\u0345\u05b8\u0651\u093c\u3099"
INVALID = [
    "\ufffd",
    "\ufffd\ufffd",
    "Ã©",
    "â€™",
    "\x00",
    "\x1b[0m",
    "\x7f",
    "\x80\x9f",
    "ï¿½",
    "\ufffe",
]
LOOKALIKES = ["<0x41>", "<0x0A>", "Ġthe", "Ċ", "##ing", "▁the", "<s", "s>", "<|im", "[UN", "< s >"]
SPECIAL = [
    "<s>",
    "</s>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
]
DIGITS = [
    "0",
    "7",
    "42",
    "123",
    "1234",
    "1234567890",
    "3.14159",
    "1,000,000",
    "0x1F",
    "½",
    "²",
    "Ⅷ",
    "٣٤",
    "१२",
]


@cache
def categories() -> dict[str, list[int]]:
    """Code points by general category, surrogates left out."""
    found: dict[str, list[int]] = {}
    for point in range(0, sys.maxunicode + 1, 3):
        found.setdefault(unicodedata.category(chr(point)), []).append(point)
    del found["Cs"]
    return found


def category(r: random.Random) -> str:
    """Characters of one Unicode category."""
    points = categories()[r.choice(sorted(categories()))]
    return "".join(chr(r.choice(points)) for _ in range(r.randint(1, 6)))


def script(r: random.Random) -> str:
    """A word of one script, sometimes in another normalization."""
    low, high = SCRIPTS[r.choice(sorted(SCRIPTS))]
    text = "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 8)))
    return (
        unicodedata.normalize(r.choice(("NFC", "NFD", "NFKC", "NFKD")), text)
        if r.random() < 0.3
        else text
    )


def marked(r: random.Random) -> str:
    """Letters under piles of combining marks."""
    return "".join(
        r.choice("aeıoñकא") + "".join(r.choices(MARKS, k=r.randint(0, 4))) for _ in range(3)
    )


def run(r: random.Random) -> str:
    """One character or space many times."""
    return r.choice([*SPACES, *"a=-.#!9é你🦆"]) * r.choice((2, 3, 4, 5, 7, 8, 15, 16, 17, 33))


def long(r: random.Random) -> str:
    """A word without an end in sight."""
    return "".join(r.choices("abcdeEXYZéß019_", k=r.randint(40, 400)))


def cased(r: random.Random) -> str:
    """A word in changing case with an apostrophe or two."""
    word = r.choice(WORDS)
    return r.choice(
        (word.upper(), word.title(), word + "'S", f"'{word}'", word + "'ll", "ſ'ſ" + word)
    )


def one_of(*lists: list[str]) -> Callable[[random.Random], str]:
    """Any string of the lists."""
    return lambda r: r.choice(r.choice(lists))


PARTS: list[Callable[[random.Random], str]] = [
    *(category, script, marked, cased),
    *(one_of(WORDS), one_of(SPACES), one_of(EMOJI), one_of(DIGITS), one_of(SPECIAL, LOOKALIKES)),
    *(one_of(INVALID), one_of(CODE), run),
]


def corpus(count: int, special: bool = True, seed: int = 1) -> list[str]:
    """`count` texts; without `special`, none that holds the name of a special token."""
    r, texts = random.Random(seed), ["", " ", "\n", "▁", "  a  "]
    while len(texts) < count:
        parts = [r.choice(PARTS)(r) for _ in range(r.randint(1, 9))]
        if r.random() < 0.02:
            parts.append(long(r))
        text = r.choice(("", "", " ")).join(parts)
        if special or not any(name in text for name in SPECIAL):
            texts.append(text)
    return texts[:count]
