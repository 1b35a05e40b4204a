"""`mistralrs bench`: how fast a model reads a prompt, and how fast it writes."""

import json
import random
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mistralrs.cli.options import (
    AT_LEAST_0,
    AT_LEAST_1,
    KINDS,
    GlobalOptions,
    ModelOptions,
    RuntimeOptions,
    takes,
)

if TYPE_CHECKING:
    from mistralrs.api.explain import Explanation
    from mistralrs.api.responses import Usage
    from mistralrs.runner import Runner

SHORT = 4  # tokens of the prompt before which writing is measured, about


@dataclass(frozen=True)
class Speed:
    """One test: tokens per second of every round."""

    test: str
    tokens: int  # that were timed in a round
    rounds: list[float]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.rounds)

    def latency(self, prefill: bool) -> str:
        """What a user waits for: the whole prompt, or one token."""
        if prefill:
            return f"{1000 * self.tokens / self.middle:.1f} ms to the first token"
        return f"{1000 / self.middle:.2f} ms per token"

    def entry(self) -> dict[str, Any]:
        """The test as JSON."""
        return {**asdict(self), "median": self.middle}


@click.command(context_settings={"show_default": True})
@click.argument("kind", type=click.Choice(KINDS), default="auto", metavar="[KIND]")
@click.option("--prompt-len", default=512, type=AT_LEAST_1, help="Tokens to read, about.")
@click.option("--gen-len", default=128, type=click.IntRange(min=2), help="Tokens to write.")
@click.option("--iterations", default=3, type=AT_LEAST_1, help="Rounds; the median counts.")
@click.option("--warmup", default=1, type=AT_LEAST_0, help="Rounds before, which do not count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@takes(ModelOptions, RuntimeOptions, GlobalOptions)
def bench(
    model: ModelOptions,
    runtime: RuntimeOptions,
    everywhere: GlobalOptions,
    kind: str,
    prompt_len: int,
    gen_len: int,
    iterations: int,
    warmup: int,
    as_json: bool,
) -> None:
    """Measure how fast a model reads and writes.

    One request at a time, without the prefix cache: prefill reads a random
    prompt and writes one token, decode writes behind a short prompt. Decoding
    reads every weight once per token, so it is also shown as a share of what
    the memory's bandwidth, measured first, would allow.
    """
    from mistralrs.cli.bandwidth import bandwidth
    from mistralrs.cli.start import refuse_silent, start, usage, which

    with usage():
        refuse_silent(which(kind, model))
        refuse_fixed(click.get_current_context())
    alone = dict(max_seqs=1, prefix_cache_n=0)
    with start(kind, model, runtime, everywhere, **alone) as runner:
        speeds = [
            prefill(runner, prompt_len, iterations, warmup),
            decode(runner, gen_len, iterations, warmup),
        ]
        memory = bandwidth(runner.explain().device)
        explained = runner.explain(bandwidth=memory, speed=speeds[1].middle)
    if as_json:
        print(json.dumps(report(speeds, explained), indent=2))
    else:
        show(speeds, explained)


def refuse_fixed(context: click.Context) -> None:
    """What the measurement sets itself cannot be an option."""
    for name in ("max_seqs", "prefix_cache_n", "log"):
        source = context.get_parameter_source(name)
        if source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            flag = name.replace("_", "-")
            raise click.UsageError(f"bench asks one thing at a time: leave --{flag} out", context)


def prefill(runner: "Runner", length: int, iterations: int, warmup: int) -> Speed:
    """Tokens per second of a prompt."""
    used = [read(runner, length, 1) for _ in range(warmup + iterations)][warmup:]
    rounds = [one.prompt_tokens / one.total_prompt_time_sec for one in used]
    return Speed(f"prefill {used[0].prompt_tokens}", used[0].prompt_tokens, rounds)


def decode(runner: "Runner", length: int, iterations: int, warmup: int) -> Speed:
    """Tokens per second of an answer; its first token belongs to the prompt."""
    used = [read(runner, SHORT, length) for _ in range(warmup + iterations)][warmup:]
    rounds = [(one.completion_tokens - 1) / one.total_completion_time_sec for one in used]
    return Speed(f"decode {length}", length - 1, rounds)


def read(runner: "Runner", length: int, new: int) -> "Usage":
    """What it costs to continue a prompt that no earlier one resembles."""
    from mistralrs.api.requests import CompletionRequest

    request = CompletionRequest(
        prompt=text(runner, length), max_tokens=new, temperature=0.0, ignore_eos=True
    )
    return runner.send_completion_request(request).usage


def text(runner: "Runner", length: int) -> str:
    """Random text of about so many tokens."""
    letters = "".join(random.choices("abcdefghijklmnopqrstuvwxyz    ", k=8 * length + 16))
    ids = runner.tokenize_text(letters, False)
    return runner.detokenize_text(ids[:length], True)


def report(speeds: list[Speed], explained: "Explanation") -> dict[str, Any]:
    """Everything as JSON."""
    return {
        "model": explained.model,
        "device": explained.device,
        "instructions": explained.instructions,
        "threads": explained.threads,
        "tests": [speed.entry() for speed in speeds],
        "weight_bytes": explained.bytes,
        "bytes_per_token": explained.read,
        "bandwidth_bytes_per_second": explained.bandwidth,
        "roof_tokens_per_second": explained.roof,
        "share_of_roof": explained.share,
    }


def show(speeds: list[Speed], explained: "Explanation") -> None:
    """Print a table and the roof."""
    from mistralrs.api.explain import size
    from mistralrs.cli.shape import table

    print(explained.head())
    rows = [
        (
            one.test,
            f"{one.middle:.1f}",
            f"{min(one.rounds):.1f} - {max(one.rounds):.1f}",
            one.latency(one is speeds[0]),
        )
        for one in speeds
    ]
    table(("Test", "Tokens/s", "Range", "Latency"), rows, numbers=(1,))
    print(
        f"a token reads {size(explained.read)} of {size(explained.bytes)}; memory gives "
        f"{size(explained.bandwidth or 0)}/s: at most {explained.roof:.1f} tokens/s, "
        f"{explained.share:.0%} reached"
    )
