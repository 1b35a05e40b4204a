"""Where does the time of a decode step go? Milliseconds in kernels, and in everything else.

python bench/step.py [MODEL] [--dtype bf16] [--isq q4k] [--prompt 32 512] [--new 64] [--unfused]

A step lasts from one new token to the next, as the caller of the Runner sees it. Every call of a compiled kernel
is timed from its start to its return; the rest is scheduling, batches, torch, sampling, text, and the change of
threads.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from peers import WORDS, arguments


class Clock:
    """When the functions that it times were called, and the seconds that each call took."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float]] = []

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.calls.append((start, time.perf_counter() - start))

        return call


class Timed:
    """Stands for the compiled module, or for one of its plans."""

    def __init__(self, target: Any, clock: Clock):
        self.target, self.clock = target, clock

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.target, name)
        if name == "Plan":
            call: Any = lambda size: Timed(member(size), self.clock)  # noqa: E731
        else:
            call = self.clock.timed(member)
        setattr(self, name, call)
        return call


def main() -> None:
    """Measure and print a table."""
    args = arguments(__doc__, prompt=[32, 512], new=64, isq="", unfused=0)
    from mistralrs import CompletionRequest, Runner, Which, kernels

    clock, native = Clock(), kernels.native
    assert native.compiled is not None, "there is nothing to time without the compiled kernels"
    native.compiled.set_threads(args.threads)
    if args.unfused:
        import mistralrs.pipeline

        mistralrs.pipeline.fuse = lambda model: model
    runner = Runner(
        Which.Plain(args.model, dtype=args.dtype),
        max_seqs=1,
        prefix_cache_n=0,
        in_situ_quant=args.isq or None,
    )
    native.ops = native.compiled = Timed(native.compiled, clock)

    def step(text: str) -> tuple[float, float, float]:
        """Milliseconds of a step, those in kernels, and calls."""
        clock.calls.clear()
        request = CompletionRequest(text, max_tokens=args.new, temperature=0.0, ignore_eos=True)
        whole = runner.send_completion_request(request).usage.total_completion_time_sec
        first = time.perf_counter() - whole  # when the first token was there, or a moment later
        found = [spent for start, spent in clock.calls if start + spent > first]
        count = args.new - 1
        return 1e3 * whole / count, 1e3 * sum(found) / count, len(found) / count

    rows = []
    for length in args.prompt:
        text = " ".join(WORDS[i * 7 % len(WORDS)] for i in range(length))
        found = [step(text) for _ in range(args.rounds + 1)][1:]
        whole, inside, calls = (median(column) for column in zip(*found))
        outside = median(100 * (1 - b / a) for a, b, _ in found)
        rows.append((f"after {length} words", whole, inside, whole - inside, outside, calls))
    if args.json:
        print(json.dumps(dict(vars(args), kernels=kernels.describe(), rows=rows), indent=2))
        return
    print(f"{args.model}, {args.dtype} {args.isq}, {args.threads} threads\n")
    print(
        "| decode step | ms | in kernels | outside | outside % | native calls |\n|---|---|---|---|---|---|"
    )
    for label, *figures in rows:
        print(f"| {label} | {' | '.join(f'{x:.2f}' for x in figures)} |")


if __name__ == "__main__":
    main()
