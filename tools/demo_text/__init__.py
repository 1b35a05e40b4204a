"""Made-up training text for the demo model: skills, their shares, and drawing from them."""

import random
from collections.abc import Iterator

from . import arithmetic, calls, chat, records, stories, world
from .base import Example, Skill, draw

SHARES: dict[Skill, float] = {
    arithmetic.calculation: 30,
    arithmetic.bare_sum: 2,
    world.fact: 7,
    world.follow_up: 2,
    chat.small_talk: 4,
    chat.package: 4,
    chat.unknown: 2,
    chat.introduction: 1,
    chat.remember_name: 3,
    chat.unknown_name: 0.7,
    chat.persona: 1,
    stories.story: 6,
    stories.bare_story: 1.5,
    records.extraction: 8,
    records.calculation: 2,
    records.town: 1,
    records.colors: 0.7,
    calls.tool_call: 10,
    calls.missing_tool: 1.5,
    calls.chat_with_tools: 2,
    calls.tool_result: 5,
}


def training_examples(seed: int, count: int) -> Iterator[Example]:
    """Yield `count` examples of all skills by their shares, none of them held out."""
    rng = random.Random(seed)
    skills, weights = list(SHARES), list(SHARES.values())
    for skill in rng.choices(skills, weights, k=count):
        yield draw(skill, rng, held_out=False)


def held_out_examples(seed: int, per_skill: int) -> Iterator[Example]:
    """Yield examples for scoring, `per_skill` of each skill, that the training never shows."""
    rng = random.Random(seed)
    for skill in SHARES:
        for _ in range(per_skill):
            yield draw(skill, rng, held_out=True)


__all__ = ["SHARES", "Example", "held_out_examples", "training_examples"]
