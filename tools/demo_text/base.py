"""The shape of one training example, and small helpers shared by all skills."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HELD_OUT_ONE_IN = 12
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Answer briefly.",
    "You are a small model that answers in one sentence.",
    "Be polite and short.",
    "You are a helpful AI.",
)


@dataclass(frozen=True)
class Example:
    """One chat with its wanted answer; `key` decides on which side of the split it lies."""

    skill: str
    key: str
    messages: tuple[dict, ...] = ()
    answer: str = ""
    think: str = ""
    calls: tuple[dict, ...] = ()
    tools: tuple[dict, ...] = ()
    wanted: tuple[str, ...] = ()
    raw: str = ""


Skill = Callable[[random.Random], Example]


def is_held_out(key: str) -> bool:
    """Tell whether examples with this key are kept for scoring."""
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def draw(skill: Skill, rng: random.Random, held_out: bool) -> Example:
    """Draw examples of a skill until one lies on the asked side of the split."""
    while True:
        example = skill(rng)
        if is_held_out(example.key) == held_out:
            return example


def user(text: str) -> dict:
    """Make a user turn."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    """Make an assistant turn."""
    return {"role": "assistant", "content": text}


def system(text: str) -> dict:
    """Make a system turn."""
    return {"role": "system", "content": text}


def some_system(rng: random.Random, share: float = 0.25) -> tuple[dict, ...]:
    """Return an ordinary system turn with probability `share`, else none."""
    return (system(rng.choice(SYSTEM_PROMPTS)),) if rng.random() < share else ()


def dress(rng: random.Random, question: str) -> str:
    """Vary how a question is written: case, final mark, a polite word before or after."""
    style = rng.random()
    if style < 0.75:
        return question
    if style < 0.83:
        return question.lower()
    if style < 0.9:
        return question.rstrip("?.!")
    if style < 0.95:
        return rng.choice(("Please: ", "Hi! ", "Hello. ", "Hey, ", "A question: ")) + question
    return question + rng.choice((" Please.", " Thanks!", " Thank you."))


def listed(text: str, mark: str | None = None) -> list[str]:
    """Cut a text into words, or at a mark."""
    return text.split(mark)


def join_words(words: Sequence[str]) -> str:
    """Join words as in running text: "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
