"""Is what `mistralrs tune` says about memory true? Its sizes beside the growth of a process that loads the model.

python bench/memory.py MODEL [--isq none q8_0 q4k]

MODEL is a folder, such as make_model.py writes. Each load is a process of its own, which reads the file into memory of
its own (MISTRALRS_NO_MMAP=1): pages of a mapped file would count only as far as they have been touched. The growth
is from after loading the demo model, to after one request has run.
"""

import argparse
import gc
import json
import os
import subprocess
import sys

import psutil

OFF = "none"


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return psutil.Process().memory_info().rss


def load(model: str, isq: str) -> None:
    """Load and print what the process has grown by, and what the engine says."""
    from mistralrs import CompletionRequest, Runner, Which, demo

    request = CompletionRequest(prompt="hello", max_tokens=4, ignore_eos=True)
    quantized = {} if isq == OFF else {"in_situ_quant": isq}
    with Runner(which=Which.Plain(str(demo.model_path())), **quantized) as first:
        first.send_completion_request(request)
    before = resident()
    with Runner(which=Which.Plain(model), max_seqs=1, **quantized) as runner:
        runner.send_completion_request(request)
        print(resident() - before, runner.explain().bytes)


def measured(model: str, isq: str) -> list[int]:
    """`load` in a process of its own."""
    command = [sys.executable, __file__, model, "--isq", isq, "--load"]
    env = {**os.environ, "MISTRALRS_NO_MMAP": "1"}
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [int(word) for word in run.stdout.split()]


def tuned(model: str) -> dict[str, int]:
    """What `mistralrs tune` says."""
    command = [sys.executable, "-m", "mistralrs.cli", "tune", "-m", model, "--json", "--cpu"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {c["isq"]: c["estimated_size_bytes"] for c in json.loads(run.stdout)["candidates"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--isq", nargs="+", default=[OFF, "q8_0", "q4k"])
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        load(args.model, args.isq[0])
        sys.exit()
    said = tuned(args.model)
    print(
        f"{'isq':<6}{'tune MiB':>10}{'weights':>10}{'grown':>10}{'tune/weights':>14}{'tune/grown':>12}"
    )
    for isq in args.isq:
        grown, weights = measured(args.model, isq)
        sizes = "".join(f"{size / 2**20:>10.1f}" for size in (said[isq], weights, grown))
        print(f"{isq:<6}{sizes}{said[isq] / weights:>14.3f}{said[isq] / grown:>12.3f}", flush=True)
