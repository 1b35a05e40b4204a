"""Facts about Tolvana, a made-up land, and a handful of real capitals."""

import random

from .base import Example, assistant, dress, join_words, some_system, user

LAND = "Tolvana"
TOWN_KEYS = ("river", "craft", "food", "animal", "mayor")
TOWNS = {
    "Velmora": ("Sill", "glass lamps", "plum bread", "heron", "Orla Tamm"),
    "Brakken": ("Dorn", "copper bells", "onion pie", "badger", "Huk Varro"),
    "Isendale": ("Lume", "woollen coats", "goat cheese", "white goat", "Mira Solen"),
    "Port Kessa": ("Amber", "fishing boats", "smoked eel", "seal", "Dav Ruun"),
    "Quillon": ("Tarn", "paper and ink", "pear cake", "magpie", "Selka Brin"),
    "Hollowmere": ("Wisp", "wooden flutes", "mushroom soup", "otter", "Jory Pell"),
    "Zarrin": ("Ember", "clay pots", "date bread", "sand fox", "Nadia Oss"),
    "Fennwick": ("Reed", "willow baskets", "honey cake", "grey swan", "Tobin Ash"),
}
TOWN_FACTS = {
    "river": (
        ("Which river flows through {t}?", "What river is in {t}?", "On which river is {t}?"),
        "The river {v} flows through {t}.",
    ),
    "craft": (
        ("What do people make in {t}?", "What is {t} known for?", "Which craft comes from {t}?"),
        "{t} is known for its {v}.",
    ),
    "food": (
        ("What do people eat in {t}?", "What food is typical of {t}?", "What can I eat in {t}?"),
        "In {t} people like to eat {v}.",
    ),
    "animal": (
        (
            "What is the animal of {t}?",
            "Which animal stands for {t}?",
            "Which animal lives in {t}?",
        ),
        "The animal of {t} is the {v}.",
    ),
    "mayor": (
        ("Who is the mayor of {t}?", "Who leads {t}?", "Tell me the name of the mayor of {t}."),
        "The mayor of {t} is {v}.",
    ),
}
FOLLOW_UPS = {
    "river": "And which river flows there?",
    "craft": "And what do people make there?",
    "food": "And what do people eat there?",
    "animal": "And which animal lives there?",
    "mayor": "And who is the mayor?",
}
PEOPLE = {
    "Orla Tamm": ("lamp maker", "Velmora", "a blue parrot"),
    "Huk Varro": ("bell founder", "Brakken", "an old dog"),
    "Mira Solen": ("weaver", "Isendale", "three goats"),
    "Dav Ruun": ("boat builder", "Port Kessa", "a one-eyed cat"),
    "Selka Brin": ("printer", "Quillon", "a tame magpie"),
    "Jory Pell": ("flute maker", "Hollowmere", "two otters"),
    "Nadia Oss": ("potter", "Zarrin", "a sand fox"),
    "Tobin Ash": ("beekeeper", "Fennwick", "a lazy donkey"),
}
PEOPLE_FACTS = (
    (("What does {p} do?", "What is the job of {p}?", "What does {p} work as?"), "{p} is a {v}."),
    (("Where does {p} live?", "In which town does {p} live?"), "{p} lives in {v}."),
    (("Which pet does {p} have?", "Does {p} have a pet?"), "{p} has {v}."),
)
CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Spain": "Madrid",
    "Italy": "Rome",
    "Norway": "Oslo",
    "Japan": "Tokyo",
    "England": "London",
    "Ireland": "Dublin",
    "Portugal": "Lisbon",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Egypt": "Cairo",
    "Poland": "Warsaw",
    "Hungary": "Budapest",
    "Finland": "Helsinki",
    LAND: "Velmora",
}
CAPITAL_ASKS = (
    "What is the capital of {c}?",
    "Which city is the capital of {c}?",
    "Tell me the capital of {c}.",
    "Name the capital of {c}.",
)
GENERAL = (
    (("What is Tolvana?", "Tell me about Tolvana.", "Where is Tolvana?"),
     "Tolvana is a made-up land with eight towns."),
    (("Which towns are in Tolvana?", "Name the towns of Tolvana.", "List the towns of Tolvana."),
     f"The towns of Tolvana are {join_words(list(TOWNS))}."),
)  # fmt: skip


def one_example(rng: random.Random, ask: str, answer: str) -> Example:
    """Make a single-turn fact example; the way it is asked decides the side of the split."""
    return Example("world facts", ask, (*some_system(rng), user(dress(rng, ask))), answer)


def town_answer(town: str, kind: str) -> str:
    """Write the sentence for one fact about a town."""
    value = TOWNS[town][TOWN_KEYS.index(kind)]
    return TOWN_FACTS[kind][1].format(t=town, v=value)


def town_fact(rng: random.Random) -> Example:
    """Ask for a fact about a town."""
    town, kind = rng.choice(list(TOWNS)), rng.choice(TOWN_KEYS)
    ask = rng.choice(TOWN_FACTS[kind][0]).format(t=town)
    return one_example(rng, ask, town_answer(town, kind))


def person_fact(rng: random.Random) -> Example:
    """Ask for a fact about a person of the made-up land."""
    who, index = rng.choice(list(PEOPLE)), rng.randrange(3)
    asks, answer = PEOPLE_FACTS[index]
    ask = rng.choice(asks).format(p=who)
    return one_example(rng, ask, answer.format(p=who, v=PEOPLE[who][index]))


def capital(rng: random.Random) -> Example:
    """Ask for a capital."""
    country = rng.choice(list(CAPITALS))
    ask = rng.choice(CAPITAL_ASKS).format(c=country)
    return one_example(rng, ask, f"The capital of {country} is {CAPITALS[country]}.")


def general(rng: random.Random) -> Example:
    """Ask about the land as a whole."""
    asks, answer = rng.choice(GENERAL)
    return one_example(rng, rng.choice(asks), answer)


def fact(rng: random.Random) -> Example:
    """Ask for any fact."""
    kinds = (town_fact, town_fact, town_fact, person_fact, person_fact, capital, capital, general)
    return rng.choice(kinds)(rng)


def follow_up(rng: random.Random) -> Example:
    """Ask for a fact about a town, then for another without naming the town again."""
    town = rng.choice(list(TOWNS))
    first, second = rng.sample(TOWN_KEYS, 2)
    ask = rng.choice(TOWN_FACTS[first][0]).format(t=town)
    turns = (user(ask), assistant(town_answer(town, first)), user(FOLLOW_UPS[second]))
    return Example("follow-up", f"{ask} {second}", turns, town_answer(town, second))
