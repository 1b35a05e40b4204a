"""Do many threads at once get the answers that they get alone? Exit code 1 if not.

Threads send a mix of requests to one Runner: chats and completions, whole and streamed, greedy and seeded, several
choices, logprobs, stop strings, short and long; some close their stream early or run into a timeout. Every answer,
also the beginning of a canceled one, must equal that of the same request sent alone; after each round no cache page
may be held.

python bench/stress.py [MODEL] [--threads 64] [--requests 512] [--rounds 3]
"""

import argparse
import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import psutil

from mistralrs import ChatCompletionRequest, CompletionRequest, Runner, Which
from mistralrs.api.errors import RequestTimeoutError
from mistralrs.demo import model_path

TOPICS = ("rivers", "a fox", "seven birds", "old stone walls", "light and rain", "12 plus 7")
Request = ChatCompletionRequest | CompletionRequest


def make(number: int, seed: int) -> Request:
    """A request of the mix."""
    chance = random.Random(f"{seed} {number}")
    rules: dict[str, Any] = dict(
        temperature=chance.choice([0.0, 0.0, 0.7, 1.3]),
        seed=number,
        max_tokens=chance.choice([1, 4, 12, 40]),
        n_choices=chance.choice([1, 1, 1, 3]),
        top_p=chance.choice([None, 0.9]),
        stop_seqs=chance.choice([None, None, ["the"], [".", "and"]]),
        repetition_penalty=chance.choice([None, None, 1.2]),
        ignore_eos=chance.random() < 0.2,
    )
    text = f"Tell me about {chance.choice(TOPICS)}. " * chance.choice([1, 1, 2, 8, 30])
    if chance.random() < 0.3:
        return CompletionRequest(text, **rules)
    logprobs = chance.choice([None, None, 0, 3])
    return ChatCompletionRequest(
        text, logprobs=logprobs is not None, top_logprobs=logprobs, **rules
    )


def whole(runner: Runner, request: Request, timeout: float | None = None) -> list[Any]:
    """The choices of a request."""
    if isinstance(request, CompletionRequest):
        return runner.send_completion_request(request, timeout=timeout).choices
    return runner.send_chat_completion_request(request, timeout=timeout).choices


class Said(NamedTuple):
    """What a chat's choice says; as a prefix, what it said so far."""

    reasoning: str = ""
    content: str = ""
    finish: str | None = None

    def begins(self, other: "Said") -> bool:
        """Whether the other one could go on from here."""
        return other.reasoning.startswith(self.reasoning) and other.content.startswith(self.content)


def streamed(runner: Runner, request: ChatCompletionRequest, most: int) -> list[Said]:
    """What the choices of a streamed chat say; it is closed after `most` chunks."""
    said = [Said()] * request.n_choices
    with runner.send_chat_completion_request(replace(request, stream=True)) as stream:
        for chunk in itertools.islice(stream, most):
            choice = chunk.choices[0]
            old, new = said[choice.index], choice.delta
            said[choice.index] = Said(
                old.reasoning + (new.reasoning_content or ""),
                old.content + (new.content or ""),
                choice.finish_reason or old.finish,
            )
    return said


def spoken(choice: Any) -> Said:
    """What a whole chat's choice says."""
    message = choice.message
    return Said(message.reasoning_content or "", message.content or "", choice.finish_reason)


def attempt(runner: Runner, request: Request, alone: list[Any], chance: random.Random) -> str:
    """Send a request in one of the ways; what happened, or "WRONG"."""
    chat = isinstance(request, ChatCompletionRequest)
    way = chance.choice(["whole", "stream", "close", "timeout"] if chat else ["whole", "timeout"])
    if way in ("whole", "timeout"):
        try:
            found = whole(runner, request, 0.02 + chance.random() if way == "timeout" else None)
        except RequestTimeoutError:
            return "timed out"
        return way if found == alone else "WRONG"
    expected = [spoken(choice) for choice in alone]
    if way == "stream":
        return way if streamed(runner, request, sys.maxsize) == expected else "WRONG"
    found = streamed(runner, request, chance.randrange(8))
    return way if all(f.begins(e) for f, e in zip(found, expected)) else "WRONG"


def together(threads: int, count: int, work: Callable[[int], str]) -> Counter[str]:
    """Do `work` for every number below `count` in that many threads; how often each outcome was."""
    outcomes: Counter[str] = Counter()
    numbers, lock = iter(range(count)), threading.Lock()

    def loop() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                outcome = work(number)
            except Exception as error:
                outcome = f"WRONG: {error!r}"
            with lock:
                outcomes[outcome] += 1

    crowd = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return outcomes


def held(runner: Runner, patience: float = 5.0) -> int:
    """Cache pages still held once the engine has nothing to do."""
    engine, end = runner._pipeline(None).engine, time.monotonic() + patience
    while engine.jobs and time.monotonic() < end:
        time.sleep(0.01)
    return engine.pages.count - engine.pages.free


def stress(
    runner: Runner, threads: int, requests: int, rounds: int, seed: int = 1
) -> list[dict[str, Any]]:
    """Run the rounds; what happened in each, with the number of violations under "wrong"."""
    mix = [make(i, seed) for i in range(requests)]
    alone = [whole(runner, request) for request in mix]
    results = []
    for number in range(rounds):

        def work(i: int, number: int = number) -> str:
            return attempt(runner, mix[i], alone[i], random.Random(f"{seed} {number} {i}"))

        start = time.perf_counter()
        outcomes = together(threads, requests, work)
        seconds, pages = time.perf_counter() - start, held(runner)
        wrong = sum(n for outcome, n in outcomes.items() if outcome.startswith("WRONG"))
        wrong += (pages > 0) + (sum(outcomes.values()) != requests)
        rss = psutil.Process().memory_info().rss >> 20
        results.append(
            dict(wrong=wrong, pages_held=pages, rss_mib=rss, seconds=round(seconds, 1), **outcomes)
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default=str(model_path()))
    for name, value in (("threads", 64), ("requests", 512), ("rounds", 3), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    with Runner(Which.Plain(args.model)) as runner:
        results = stress(runner, args.threads, args.requests, args.rounds, args.seed)
    for number, result in enumerate(results, start=1):
        print(f"round {number}: {', '.join(f'{k} {v}' for k, v in result.items())}")
    return int(any(result["wrong"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
