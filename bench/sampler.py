"""How long does choosing tokens take? Ours against a full sort in torch, per row of logits.

python bench/sampler.py [--vocabulary 131072] [--rows 8] [--repeat 5]
"""

import argparse
import time
from collections.abc import Callable

import torch

from mistralrs.api.prompt import Dry, Sampling
from mistralrs.engine.penalties import Penalties
from mistralrs.engine.sampler import Row, sample

CASES = {
    "greedy": Sampling(temperature=0),
    "greedy, 5 logprobs": Sampling(temperature=0, logprobs=5),
    "temperature 0.7": Sampling(temperature=0.7),
    "temperature 1": Sampling(),
    "top_k 40": Sampling(top_k=40),
    "top_p 0.95": Sampling(top_p=0.95),
    "min_p 0.05": Sampling(min_p=0.05),
    "all filters": Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
    "frequency": Sampling(temperature=0, frequency_penalty=0.5),
    "DRY": Sampling(temperature=0, dry=Dry(0.8)),
}


def power_law(rows: int, vocabulary: int) -> torch.Tensor:
    """Return logits [R, V] of a power law in shuffled order: the best token has 44 %."""
    falling = -1.6 * torch.arange(1, vocabulary + 1).log()
    return torch.stack([falling[torch.randperm(vocabulary)] for _ in range(rows)])


def flat(rows: int, vocabulary: int) -> torch.Tensor:
    """Return logits [R, V] of an untrained model: our worst case."""
    return torch.randn(rows, vocabulary)


def naive(logits: torch.Tensor, rows: list[Row], contexts: list[list[int]]) -> list[int]:
    """Choose with a full softmax and sort of all rows; counts contexts anew, and leaves out DRY."""
    s = rows[0].sampling
    if s.frequency_penalty or s.dry:
        counts = [torch.bincount(torch.tensor(c), minlength=logits.shape[1]) for c in contexts]
        logits = logits - s.frequency_penalty * torch.stack(counts)
    if s.logprobs is not None:
        logits.log_softmax(-1).topk(s.logprobs)
    if s.temperature == 0:
        return logits.argmax(-1).tolist()
    probs, order = (logits / s.temperature).softmax(-1).sort(-1, descending=True)
    drop = probs.cumsum(-1) - probs >= s.top_p
    drop |= probs <= probs[:, :1] * s.min_p
    drop[:, s.top_k or logits.shape[1] :] = True
    return order.gather(1, probs.masked_fill(drop, 0).multinomial(1)).flatten().tolist()


def median(work: Callable[[int], object], repeat: int) -> float:
    """Return the median seconds of `work(i)`."""
    times = []
    for i in range(repeat + 1):
        start = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeat // 2]


def compare(logits: torch.Tensor, rules: Sampling, repeat: int) -> tuple[float, float]:
    """Return the seconds of a step of ours and of the naive one."""
    contexts = [torch.randint(1000, (4000,)).tolist() for _ in logits]
    starts = [Penalties.start(rules, context) for context in contexts]

    def rows(step: int) -> list[Row]:
        return [Row(rules, step, i, penalties) for i, penalties in enumerate(starts)]

    ours = median(lambda step: sample(logits, rows(step)), repeat)
    return ours, median(lambda step: naive(logits, rows(step), contexts), repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("vocabulary", 131072), ("rows", 8), ("repeat", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(1)  # for a steady comparison; ours uses one thread anyway
    for shape in (power_law, flat):
        logits = shape(args.rows, args.vocabulary)
        print(f"{shape.__name__}, [{args.rows}, {args.vocabulary}]: microseconds per row")
        for name, rules in CASES.items():
            ours, theirs = (1e6 * x / args.rows for x in compare(logits, rules, args.repeat))
            print(f"  {name:20} {ours:8.0f}   full sort {theirs:8.0f}   x{theirs / ours:.1f}")


if __name__ == "__main__":
    main()
