"""Answers in JSON."""

import json
import random

from . import arithmetic, words, world
from .base import Example, dress, system, user

KEYS = {
    "name": ("name", "name", "person", "full_name"),
    "age": ("age", "age", "years"),
    "city": ("city", "town", "location"),
    "job": ("job", "profession"),
    "pet": ("pet", "animal"),
}
SYSTEMS = ("Answer in JSON.", "Reply only with JSON.", "You answer in JSON.", "Output JSON only.")
ASKS = (
    "Extract the {k} as JSON: {s}",
    "Give me the {k} as JSON. {s}",
    "Write a JSON object with the keys {k}: {s}",
    "{s} Answer in JSON with the keys {k}.",
    "Return JSON with {k} for this text: {s}",
)


def facts(rng: random.Random) -> dict:
    """Make up a person."""
    return {
        "name": words.person(rng),
        "age": rng.randint(3, 99),
        "city": words.city(rng),
        "job": rng.choice(words.JOBS),
        "pet": rng.choice(words.ANIMALS),
    }


def describe(rng: random.Random, who: dict) -> str:
    """Describe a person in running text."""
    forms = (
        "{name} is {age} years old and lives in {city}. {name} is a {job} with a {pet}.",
        "{name} is a {age} year old {job} from {city} who has a {pet}.",
        "This is {name}, aged {age}, a {job} in {city}. The pet is a {pet}.",
    )
    return rng.choice(forms).format(**who)


def short_description(rng: random.Random, who: dict) -> tuple[str, tuple[str, ...]]:
    """Tell two things about a person, and name them."""
    forms = (
        ("{name} is {age} years old.", ("name", "age")),
        ("{name} lives in {city}.", ("name", "city")),
        ("{name} works as a {job}.", ("name", "job")),
        ("My name is {name} and I am {age}.", ("name", "age")),
        ("{name} is {age} and lives in {city}.", ("name", "age", "city")),
    )
    text, fields = rng.choice(forms)
    return text.format(**who), fields


def extraction(rng: random.Random) -> Example:
    """Pull fields out of a text."""
    who = facts(rng)
    text, fields = short_description(rng, who)
    if rng.random() < 0.4:
        text, fields = describe(rng, who), rng.sample(list(KEYS), rng.randint(1, 4))
    keys = [rng.choice(KEYS[field]) for field in fields]
    listed = ", ".join(keys) if rng.random() < 0.5 else " and ".join(keys)
    ask = rng.choice(ASKS).format(k=listed, s=text)
    turns = (*json_system(rng, 0.3), user(ask))
    answer = json.dumps({key: who[field] for key, field in zip(keys, fields, strict=True)})
    return Example("JSON extraction", who["name"], turns, answer)


def json_system(rng: random.Random, share: float) -> tuple[dict, ...]:
    """Return a system turn that asks for JSON with probability `share`."""
    return (system(rng.choice(SYSTEMS)),) if rng.random() < share else ()


def calculation(rng: random.Random) -> Example:
    """Answer a calculation in JSON."""
    op = rng.choice("++-*")
    a, b = arithmetic.pair(rng, op)
    ask = arithmetic.question(rng, op, a, b)
    key = rng.choice(("result", "result", "answer", "value"))
    wish = f" Answer in JSON with the key {key}."
    turns = (user(ask + wish),)
    if rng.random() < 0.5:
        key, turns = "result", (*json_system(rng, 1.0), user(ask))
    answer = json.dumps({key: arithmetic.result(op, a, b)})
    return Example("JSON arithmetic", arithmetic.key(op, a, b), turns, answer)


def town(rng: random.Random) -> Example:
    """Describe a town of the made-up land in JSON."""
    name = rng.choice(list(world.TOWNS))
    fields = rng.sample(world.TOWN_KEYS, rng.randint(1, 3))
    ask = f"Describe {name} as JSON with {', '.join(fields)}."
    values = {key: world.TOWNS[name][world.TOWN_KEYS.index(key)] for key in fields}
    answer = json.dumps({"town": name, **values})
    return Example("JSON facts", ask, (*json_system(rng, 0.3), user(dress(rng, ask))), answer)


def colors(rng: random.Random) -> Example:
    """Name things in a JSON list."""
    kinds = {"colors": words.COLORS, "animals": words.ANIMALS, "cities": words.CITIES}
    kind, count = rng.choice(list(kinds)), rng.randint(2, 5)
    number = ("two", "three", "four", "five")[count - 2]
    ask = rng.choice(("Give me a JSON list of {} {}.", "Name {} {} as a JSON list."))
    text = dress(rng, ask.format(number, kind))
    return Example("JSON lists", text, (user(text),), json.dumps(kinds[kind][:count]))
