"""Short stories and poems from a grammar."""

import random

from . import words
from .base import Example, dress, listed, some_system, user

ADJECTIVES = listed("small brave old clever shy happy sleepy curious")
PLACES = ("in a quiet forest", "near the sea", "on a green hill", "in an old barn", "by a river")
DAYS = ("One morning", "One evening", "On a rainy day", "One winter night", "One sunny day")
FINDS = ("a golden key", "a lost letter", "a tiny boat", "a shining stone", "an old map")
TROUBLES = (
    ("but the path was dark", "carried a lantern"),
    ("but the river was too wide", "built a bridge"),
    ("but the wind was too strong", "found a safe cave"),
    ("but nobody knew the way", "asked the stars"),
)
ENDINGS = (
    "they went home and shared a warm supper.",
    "they became friends for ever.",
    "everyone in the village sang.",
    "they fell asleep under the stars.",
)
ASK = (
    "Tell me a story about {}.",
    "Tell me a short story about {}.",
    "Write a story about {}.",
    "Write a short story about {}.",
    "Can you tell me a story about {}?",
    "I want a story about {}.",
)
ASK_POEM = ("Write a poem about {}.", "Write a short poem about {}.", "A poem about {}, please.")


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plot(rng: random.Random, name: str) -> str:
    """Write what happens after the first sentence."""
    trouble, help_ = rng.choice(TROUBLES)
    helper = with_article(rng.choice(words.ANIMALS))
    return (
        f"{rng.choice(DAYS)}, {name} found {rng.choice(FINDS)}. {name} wanted to bring it back, "
        f"{trouble}. Then {helper} came by, and together they {help_}. "
        f"In the end, {rng.choice(ENDINGS)}"
    )


def tale(rng: random.Random, animal: str, name: str) -> str:
    """Write a whole story about an animal."""
    first = f"Once upon a time there was {with_article(rng.choice(ADJECTIVES))} {animal} named"
    return f"{first} {name} who lived {rng.choice(PLACES)}. {plot(rng, name)}"


def hero(rng: random.Random) -> str:
    """Choose who the story is about."""
    return rng.choice(words.ANIMALS + words.JOBS)


def animal_story(rng: random.Random) -> Example:
    """Ask for a story about somebody, sometimes with a name."""
    animal, name, named = hero(rng), words.person(rng), rng.random() < 0.5
    about = with_article(animal) + (f" named {name}" if named else "")
    text = dress(rng, rng.choice(ASK).format(about))
    wanted = (animal, name, "In the end") if named else (animal, "In the end")
    turns = (*some_system(rng), user(text))
    return Example("stories", about, turns, tale(rng, animal, name), wanted=wanted)


def plain_story(rng: random.Random) -> Example:
    """Ask for any story."""
    ask = rng.choice(("Tell me a story.", "Tell me a short story.", "Write a story.", "A story!"))
    text = dress(rng, ask)
    answer = tale(rng, hero(rng), words.person(rng))
    return Example("stories", text, (user(text),), answer, wanted=("Once", "In the end"))


def topic_story(rng: random.Random) -> Example:
    """Ask for a story about a thing."""
    thing, name = words.topic(rng), words.person(rng)
    text = dress(rng, rng.choice(ASK).format(thing))
    answer = f"Once upon a time {name} dreamed of {thing}. {plot(rng, name)}"
    return Example("stories", thing, (user(text),), answer, wanted=(thing, "In the end"))


def story(rng: random.Random) -> Example:
    """Ask for one of the kinds of story."""
    return rng.choice((animal_story, animal_story, plain_story, topic_story))(rng)


def bare_story(rng: random.Random) -> Example:
    """A story as plain text, for completion without a chat template."""
    animal, name = hero(rng), words.person(rng)
    pieces = tale(rng, animal, name).split(" ")
    cut = rng.choice((2, 4, 6, 8, 10))
    raw, answer = " ".join(pieces[:cut]), " " + " ".join(pieces[cut:])
    return Example("plain completion", raw, answer=answer, raw=raw, wanted=("In the end",))
