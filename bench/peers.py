"""What the benchmarks share: mistralrs and transformers behind one interface, alternating rounds, a table.

Every figure is the median over rounds and every ratio the median of the rounds' ratios: both engines run in
turn in one process, so that a machine whose speed drifts slows both down. Nothing heavy
is imported at the top: bench/load.py times processes with one engine alone.
"""

import argparse
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from mistralrs.demo import model_path

DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
WORDS = (
    "river",
    "runs",
    "past",
    "old",
    "stone",
    "walls",
    "seven",
    "birds",
    "sing",
    "about",
    "rain",
)


class Run(NamedTuple):
    """Seconds of one call: all of it, and from the first new token to the last."""

    wall: float
    decode: float


class Ours:
    """mistralrs, a thread for each prompt; the prefix cache is off because prompts repeat."""

    name = "mistralrs"

    def __init__(self, args: argparse.Namespace):
        from mistralrs import CompletionRequest, Runner, Which, kernels

        if kernels.native.compiled is not None:
            kernels.native.compiled.set_threads(args.threads)
        self.request = CompletionRequest
        which = Which.Plain(args.model, dtype=args.dtype)
        self.runner = Runner(which, max_seqs=max(args.batch, 1), prefix_cache_n=0)

    def run(self, texts: Sequence[str], new: int) -> Run:
        """Continue every text by `new` tokens."""
        requests = [
            self.request(text, max_tokens=new, temperature=0.0, ignore_eos=True) for text in texts
        ]
        usages = [None] * len(requests)

        def send(i: int) -> None:
            usages[i] = self.runner.send_completion_request(requests[i]).usage

        threads = [threading.Thread(target=send, args=(i,)) for i in range(len(requests))]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - start
        assert all(usage.completion_tokens == new for usage in usages)
        return Run(wall, max(usage.total_completion_time_sec for usage in usages))


class Stamps:
    """Remembers when transformers delivers tokens; the prompt comes first."""

    def __init__(self):
        self.times: list[float] = []

    def put(self, value) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


class Theirs:
    """transformers, all prompts as one padded batch."""

    name = "transformers"

    def __init__(self, args: argparse.Namespace):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(args.threads)
        self.inference = torch.inference_mode
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            args.model, dtype=DTYPES[args.dtype]
        ).eval()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer(text).input_ids)

    def run(self, texts: Sequence[str], new: int) -> Run:
        """Continue every text by `new` tokens."""
        stamps = Stamps() if len(texts) == 1 else None
        start = time.perf_counter()
        inputs = self.tokenizer(list(texts), return_tensors="pt", padding=len(texts) > 1)
        inputs.pop("token_type_ids", None)
        with self.inference():
            out = self.model.generate(
                **inputs, do_sample=False, min_new_tokens=new, max_new_tokens=new, streamer=stamps
            )
        end = time.perf_counter()
        assert out.shape[1] == inputs.input_ids.shape[1] + new
        return Run(end - start, end - stamps.times[1] if stamps else 0.0)


class Row(NamedTuple):
    """One line of a table: both engines' medians and the median ratio of the rounds."""

    label: str
    ours: float
    theirs: float
    ratio: float  # above 1: ours is better


def arguments(what: str | None, **more: object) -> argparse.Namespace:
    """The options that all benchmarks have, and those of one."""
    from mistralrs.kernels.cores import physical_cores

    parser = argparse.ArgumentParser(
        description=what, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default=str(model_path()), help="directory of a model")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, default in ({"batch": 1} | more).items():
        several = isinstance(default, list)
        kind = int if several else type(default)
        parser.add_argument(f"--{name}", type=kind, default=default, nargs="+" if several else None)
    return parser.parse_args()


def both(args: argparse.Namespace) -> tuple[Ours, Theirs]:
    """Both engines on the same model with the same number of threads."""
    return Ours(args), Theirs(args)


def prompts(theirs: Theirs, tokens: int, count: int, seed: int) -> list[str]:
    """Different texts of about so many tokens."""
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        words: list[str] = []
        while (missing := tokens - theirs.count(" ".join(words))) > 0:
            words += chance.choices(WORDS, k=max(missing // 3, 1))
        texts.append(" ".join(words))
    return texts


def compare(
    label: str,
    pair: tuple[Ours, Theirs],
    rounds: int,
    figure: Callable[[Ours | Theirs, int], float],
) -> Row:
    """Take a figure, of which more is better, of both engines in turn; the first round warms up."""
    found = [[figure(peer, i) for peer in pair] for i in range(rounds + 1)][1:]
    ours, theirs = zip(*found)
    return Row(label, median(ours), median(theirs), median(a / b for a, b in found))


def report(args: argparse.Namespace, unit: str, rows: Sequence[Row]) -> None:
    """Print a Markdown table, or JSON."""
    import torch
    import transformers

    from mistralrs import kernels

    if args.json:
        facts = dict(vars(args), unit=unit, torch=torch.__version__, kernels=kernels.describe())
        print(json.dumps(facts | {"rows": [row._asdict() for row in rows]}, indent=2))
        return
    print(f"{args.model}, {args.dtype}, {args.threads} threads, {kernels.describe()['cpu']}, "
          f"torch {torch.__version__}, transformers {transformers.__version__}\n")  # fmt: skip
    print(f"| {unit} | mistralrs | transformers | ratio |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.label} | {row.ours:.1f} | {row.theirs:.1f} | {row.ratio:.2f} |")
