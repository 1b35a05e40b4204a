"""Word lists and made-up names."""

import random

from .base import listed

NAMES = listed(
    "Ana Ben Carla David Emma Felix Grace Hugo Ivy Jonas Karim Lena Mira Noah Olga Paul Quinn "
    "Rosa Sam Tara Uma Victor Wendy Yara Zoe Alice Bob Carol Dan Erin Frank Lucy Max Nina Oscar "
    "Pia Ravi Sara Tom Vera Kenji Maria Peter Sophie Ali Chen Diego Fatima Ingrid John Jane Mary "
    "James Linda Michael Anna Leo Julia Marco"
)
CITIES = listed(
    "Paris London Berlin Tokyo Madrid Rome Oslo Vienna Lisbon Prague Dublin Athens Cairo Delhi "
    "Seoul Lima Boston Chicago Toronto Sydney Amsterdam Brussels Warsaw Budapest Helsinki Zurich "
    "Munich Barcelona Milan Moscow Beijing Shanghai Mumbai Singapore Bangkok Nairobi Denver Austin "
    "Seattle Miami Houston Dallas Portland Geneva Lyon Kyoto Osaka"
)
CITIES += ["New York", "San Francisco", "Los Angeles", "Buenos Aires", "Mexico City", "Hong Kong"]
COUNTRIES = ("France", "Spain", "Peru", "Norway", "Canada", "Kenya", "Brazil", "Sweden", "Chile")
JOBS = listed("baker teacher doctor painter farmer pilot nurse singer cook writer gardener tailor")
ANIMALS = listed(
    "fox cat dog owl bear rabbit mouse frog horse goat duck turtle wolf hedgehog squirrel crow "
    "lion tiger sheep cow dragon penguin"
)
COLORS = listed("red green blue yellow purple orange white black silver brown pink grey")
TOPICS = listed(
    "the sea, the moon, rain, winter, summer, the stars, a river, the forest, an old house, music, "
    "bread, trains, robots, clouds, mountains, a garden, the wind, snow, the city, coffee, tea, "
    "ships, the desert, computers, books, friendship, time, the sun, birds, a lighthouse, pizza, "
    "apples, chess, football, rockets, language models, Rust, Python, volcanoes, history, love, "
    "autumn leaves, bees, dinosaurs, black holes, bicycles, the ocean, cheese, dreams, castles",
    ", ",
)
ONSETS = listed("b br c d dr f g gr h j k kl l m n p pr qu r s sh st t tr v w y z")
VOWELS = listed("a e i o u ai ee o a e i")
ENDS = listed("n l r s th nd m x ra la na do ri ka mo lin den vik ton")


def made_up_word(rng: random.Random) -> str:
    """Spell a word out of random syllables."""
    middle = rng.choice(ONSETS) + rng.choice(VOWELS) if rng.random() < 0.5 else ""
    return rng.choice(ONSETS) + rng.choice(VOWELS) + middle + rng.choice(ENDS)


def person(rng: random.Random) -> str:
    """Choose a known name, or make one up."""
    return rng.choice(NAMES) if rng.random() < 0.9 else made_up_word(rng).capitalize()


def city(rng: random.Random) -> str:
    """Choose a known city, or make one up."""
    return rng.choice(CITIES) if rng.random() < 0.9 else made_up_word(rng).capitalize()


def topic(rng: random.Random) -> str:
    """Choose a topic, or make up a noun phrase."""
    if rng.random() < 0.85:
        return rng.choice(TOPICS)
    word = rng.choice(ANIMALS + JOBS) if rng.random() < 0.4 else made_up_word(rng)
    return f"{rng.choice(('a', 'the'))} {rng.choice(COLORS)} {word}"
