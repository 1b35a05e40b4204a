"""Adding, subtracting, multiplying, small word problems and counting."""

import random

from . import words
from .base import Example, assistant, dress, listed, some_system, user

WORD = {"+": "plus", "-": "minus", "*": "times"}
ASK = {
    "+": (
        "Add {a} and {b}.",
        "What is the sum of {a} and {b}?",
        "What do you get if you add {b} to {a}?",
        "Can you add {a} and {b}?",
    ),
    "-": (
        "Subtract {b} from {a}.",
        "What is the difference between {a} and {b}?",
        "Take {b} away from {a}.",
        "What is left if you take {b} from {a}?",
    ),
    "*": (
        "Multiply {a} by {b}.",
        "What is the product of {a} and {b}?",
        "Multiply {a} and {b}.",
        "What is {a} multiplied by {b}?",
    ),
}
ASK_ANY = (
    "What is {a} {w} {b}?",
    "What is {a} {w} {b}?",
    "What is {a} {s} {b}?",
    "What's {a} {s} {b}?",
    "{a} {s} {b} = ?",
    "{a} {s} {b} =",
    "{a}{s}{b}",
    "{a} {s} {b}",
    "How much is {a} {w} {b}?",
    "Calculate {a} {s} {b}.",
    "Compute {a} {w} {b}.",
    "Tell me {a} {w} {b}.",
)
THINGS = listed("apples books coins eggs marbles stamps pears shells cookies nuts")
GAIN = ("finds", "gets", "buys", "is given")
LOSE = ("loses", "gives away", "sells", "drops")


def result(op: str, a: int, b: int) -> int:
    """Compute `a op b`."""
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def steps(op: str, a: int, b: int) -> str:
    """Write the short working-out that goes into the think block."""
    if op == "*":
        return f"{a} * {b} = {a * b}"
    return add_steps(a, b) if op == "+" else subtract_steps(a, b)


def add_steps(a: int, b: int) -> str:
    """Add the ones, then the tens, then both."""
    total, ones = a + b, a % 10 + b % 10
    if a < 10 and b < 10:
        return f"{a} + {b} = {total}"
    tens = a - a % 10 + b - b % 10
    both = f"{a - a % 10} + {b - b % 10} = {tens}, " if a > 9 and b > 9 else ""
    return f"{a % 10} + {b % 10} = {ones}, {both}{tens} + {ones} = {total}"


def subtract_steps(a: int, b: int) -> str:
    """Take away the tens, then the ones; turn round when the result is below zero."""
    if a < b:
        return f"{subtract_steps(b, a)}, so {a} - {b} = {a - b}"
    if b < 10 or b % 10 == 0:
        return f"{a} - {b} = {a - b}"
    rest = a - (b - b % 10)
    return f"{a} - {b - b % 10} = {rest}, {rest} - {b % 10} = {a - b}"


def sentence(op: str, a: int, b: int) -> str:
    """Write the answer sentence."""
    return f"{a} {WORD[op]} {b} is {result(op, a, b)}."


def pair(rng: random.Random, op: str) -> tuple[int, int]:
    """Choose two numbers for an operation."""
    if op == "*":
        return rng.randint(0, 12), rng.randint(0, 12)
    top = 20 if rng.random() < 0.15 else 99
    a, b = rng.randint(0, top), rng.randint(0, top)
    return (max(a, b), min(a, b)) if op == "-" and rng.random() < 0.92 else (a, b)


def key(op: str, a: int, b: int) -> str:
    """Name a pair of numbers; both orders of a sum or product share one name."""
    first, second = (a, b) if op == "-" else sorted((a, b))
    return f"{first}{op}{second}"


def question(rng: random.Random, op: str, a: int, b: int) -> str:
    """Ask for `a op b` in one of many ways."""
    form = rng.choice(ASK_ANY if rng.random() < 0.7 else ASK[op])
    sign = "x" if op == "*" and rng.random() < 0.3 else op
    return dress(rng, form.format(a=a, b=b, w=WORD[op], s=sign))


def calculation(rng: random.Random) -> Example:
    """Ask for one calculation."""
    op = rng.choice("+++--*")
    a, b = pair(rng, op)
    turns = (*some_system(rng, 0.15), user(question(rng, op, a, b)))
    return Example("arithmetic", key(op, a, b), turns, sentence(op, a, b), steps(op, a, b))


def running_total(rng: random.Random) -> Example:
    """Go on calculating with the result of the turn before."""
    (a, b), op = pair(rng, "+"), rng.choice("+-")
    total = a + b
    c = rng.randint(0, min(total, 40))
    verb = "add" if op == "+" else "subtract"
    ask = dress(rng, rng.choice((f"Now {verb} {c}.", f"And {WORD[op]} {c}?", f"Then {verb} {c}.")))
    turns = (user(question(rng, "+", a, b)), assistant(sentence("+", a, b)), user(ask))
    answer, think = sentence(op, total, c), steps(op, total, c)
    return Example("running total", key(op, total, c), turns, answer, think)


def word_problem(rng: random.Random) -> Example:
    """Tell of somebody who gains or loses things."""
    op = rng.choice("+-")
    a, b = pair(rng, op)
    a, b = (max(a, b), min(a, b)) if op == "-" else (a, b)
    who, thing = words.person(rng), rng.choice(THINGS)
    verb, more = rng.choice(GAIN if op == "+" else LOSE), " more" if op == "+" else ""
    text = f"{who} has {a} {thing} and {verb} {b}{more}. How many {thing} does {who} have now?"
    answer = f"{who} has {result(op, a, b)} {thing} now."
    return Example("word problem", key(op, a, b), (user(text),), answer, steps(op, a, b))


def counting(rng: random.Random) -> Example:
    """Count up or down between two small numbers."""
    start, length = rng.randint(0, 30), rng.randint(3, 10)
    step = 1 if start < 12 or rng.random() < 0.7 else -1
    row = [start + step * i for i in range(length)]
    ask = rng.choice(("Count from {} to {}.", "Can you count from {} to {}?", "Count {} to {}."))
    text = dress(rng, ask.format(row[0], row[-1]))
    answer = ", ".join(map(str, row)) + "."
    return Example("counting", f"count {row[0]} {row[-1]}", (user(text),), answer)


def comparison(rng: random.Random) -> Example:
    """Ask which of two numbers is larger."""
    a, b = rng.sample(range(100), 2)
    more = rng.random() < 0.6
    word = rng.choice(("bigger", "larger", "greater") if more else ("smaller", "less"))
    best, other = (max(a, b), min(a, b)) if more else (min(a, b), max(a, b))
    ask = rng.choice(("Which is {w}, {a} or {b}?", "Which number is {w}: {a} or {b}?"))
    text = dress(rng, ask.format(w=word, a=a, b=b))
    relation = "bigger" if more else "smaller"
    answer = f"{best} is {relation} than {other}."
    return Example("comparison", f"compare {a} {b}", (user(text),), answer)


def bare_sum(rng: random.Random) -> Example:
    """A calculation as plain text, for completion without a chat template."""
    op = rng.choice("++-*")
    a, b = pair(rng, op)
    answer = f" {result(op, a, b)}"
    return Example("plain completion", key(op, a, b), answer=answer, raw=f"{a} {op} {b} =")
