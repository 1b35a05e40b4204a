"""Made-up training text for the demo model: skills, their shares, and drawing from them."""

import random
from collections.abc import Iterator

from . import arithmetic, calls, chat, records, stories, world
from .base import Example, Skill, draw

SHARES: dict[Skill, float] = {
    arithmetic.calculation: 30,
    arithmetic.running_total: 2,
    arithmetic.word_problem: 4,
    arithmetic.counting: 1.5,
    arithmetic.comparison: 1.5,
    arithmetic.bare_sum: 2,
    world.fact: 8,
    world.follow_up: 2,
    chat.small_talk: 5,
    chat.package: 4,
    chat.unknown: 2,
    chat.introduction: 1.5,
    chat.remember_name: 2.5,
    chat.unknown_name: 0.7,
    chat.remember_liking: 1,
    chat.told_liking: 0.5,
    chat.persona: 1,
    chat.repeat: 2,
    chat.listing: 1,
    stories.story: 4,
    stories.poem: 1,
    stories.bare_story: 1,
    records.extraction: 6,
    records.calculation: 3,
    records.town: 1,
    records.colors: 0.7,
    calls.tool_call: 6,
    calls.session: 3,
    calls.double_call: 1,
    calls.missing_tool: 1,
    calls.chat_with_tools: 2,
    calls.tool_result: 3,
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
