"""Adding, subtracting, multiplying, small word problems and counting."""

import random

from .base import Example, dress, listed, some_system, user

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
    top = 10 if op == "*" else 30
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


def bare_sum(rng: random.Random) -> Example:
    """A calculation as plain text, for completion without a chat template."""
    op = rng.choice("++-*")
    a, b = pair(rng, op)
    answer = f" {result(op, a, b)}"
    return Example("plain completion", key(op, a, b), answer=answer, raw=f"{a} {op} {b} =")
