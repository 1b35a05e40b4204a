"""What does a grammar cost? Compiling it, a mask, the mask on the logits, and whole answers of the demo model.

python bench/grammar.py [--vocabulary 151000] [--tokens 200]
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import tokenizers
import torch

from mistralrs import CompletionRequest, Runner, Which
from mistralrs.api.prompt import Grammar, Sampling
from mistralrs.demo import model_path
from mistralrs.engine.sampler import Row, sample
from mistralrs.prompt.detokenize import LEVEL
from mistralrs.prompt.grammar import Grammars, Matcher
from mistralrs.prompt.tokenizer import Tokenizer

RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "mail": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
    },
    "required": ["name", "age", "mail", "tags"],
    "additionalProperties": False,
}
TEXT = '{"name": "Ada Lovelace", "age": 36, "mail": "ada@lovelace.org", "tags": ["red", "blue"]}'
CASES = {
    "record": (Grammar("json_schema", json.dumps(RECORD)), TEXT),
    "any JSON object": (Grammar("json_schema", '{"type": "object"}'), TEXT),
    "regex": (Grammar("regex", "[A-Z][a-z]+ [A-Z][a-z]+, [0-9]{4}"), "Ada Lovelace, 1815"),
    "free text": (Grammar("regex", "(?s:.*)"), "The quick brown fox jumps over the lazy dog."),
}


def large(size: int) -> Tokenizer:
    """Return a byte-level tokenizer of random words and numbers, with every byte."""
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = {letter: id for id, letter in enumerate(LEVEL)}
    while len(words) < size:
        word = "".join(draw.choice(letters, draw.integers(2, 9), p=weights(26)))
        words.setdefault(f"Ġ{word}" if draw.random() < 0.6 else word, len(words))
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return Tokenizer(inner, {})


def weights(count: int) -> np.ndarray:
    """Return falling probabilities."""
    falling = 1 / np.arange(1, count + 1)
    return falling / falling.sum()


def timed(work: Callable[[], object]) -> float:
    """Return the microseconds of a call."""
    start = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - start)


def follow(matcher: Matcher, ids: list[int]) -> dict[str, list[float]]:
    """Write a text token by token; the microseconds of each part of every step."""
    times: dict[str, list[float]] = {"mask": [], "push": []}
    for id in ids:
        times["mask"].append(timed(matcher.allowed))
        times["push"].append(timed(lambda id=id: (matcher.push(id), matcher.forced())))
    return times


def parts(size: int) -> None:
    """Print what compiling and each step take with a vocabulary of `size`."""
    tokenizer = large(size)
    grammars = Grammars(tokenizer, frozenset([0]))
    print(f"vocabulary {size}: read in {timed(lambda: grammars.vocabulary) / 1000:.0f} ms, once")
    for name, (grammar, text) in CASES.items():
        compiling = timed(lambda grammar=grammar: grammars.start(grammar))
        ids = tokenizer.encode(text, special=False)
        times = follow(grammars.start(grammar), ids)
        masks = sorted(times["mask"])
        print(
            f"  {name:16} compile {compiling / 1000:6.1f} ms   mask {median(masks):6.0f} us "
            f"(worst {masks[-1]:6.0f})   push {median(times['push']):5.0f} us"
        )
    logits = torch.randn(1, size)
    allow = np.random.default_rng(0).integers(0, 256, -(-size // 8), np.uint8)
    for name, rules in (("greedy", Sampling(temperature=0)), ("temperature 1", Sampling())):
        free, ruled = (
            median(timed(lambda row=row: sample(logits, [row])) for _ in range(50))
            for row in (Row(rules), Row(rules, allow=allow))
        )
        print(f"  choosing, {name:14} {free:6.0f} us free, {ruled:6.0f} us with a mask")


def answers(tokens: int) -> None:
    """Print the time per token of the demo model, free and under a grammar that allows nearly everything."""
    free = dict(max_tokens=tokens, ignore_eos=True, temperature=0.0)
    ruled = free | dict(grammar="(?s:.*)", grammar_type="regex")
    record = dict(max_tokens=tokens, grammar=json.dumps(RECORD), grammar_type="json_schema")
    times: dict[str, list[float]] = {}
    with Runner(Which.Plain(str(model_path()))) as runner:
        for _ in range(9):  # in turn, so that all meet the same machine
            for name, rules in (("free", free), ("any text", ruled), ("record", record)):
                request = CompletionRequest("Tell me a story. ", seed=1, **rules)
                usage = runner.send_completion_request(request).usage
                took = 1e6 * usage.total_completion_time_sec / usage.completion_tokens
                times.setdefault(name, []).append(took)
    for name, took in times.items():
        print(f"  {name:10} {median(took):6.0f} us per token (best {min(took):6.0f})")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=151_000)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts(options.vocabulary)
    print("demo model:")
    answers(options.tokens)


if __name__ == "__main__":
    main()
