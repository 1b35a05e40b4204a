"""How long until the first token, and how much memory does it take? Each engine in processes of its own.

The first figures are seconds from the engine's import to one new token, files in the page cache; the second are
seconds of the whole process; the third is its peak resident set in MiB, in which mapped
weights count once they were read.

python bench/load.py [MODEL] [--dtype bf16]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

CHILD = "--child"


def child(engine: str, model: str, dtype: str, threads: int) -> None:
    """Load, continue one text by one token, and print the figures."""
    import peers

    args = argparse.Namespace(model=model, dtype=dtype, batch=1, threads=threads)
    start = time.perf_counter()
    kind = peers.Ours if engine == "ours" else peers.Theirs
    kind(args).run(["The river"], 1)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first token": seconds, "peak": peak}))


def measure(engine: str, args: argparse.Namespace) -> dict[str, float]:
    """The figures of one fresh process."""
    command = [sys.executable, __file__, CHILD, engine, args.model, args.dtype, str(args.threads)]
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(run.stdout.splitlines()[-1])
    return figures | {"process": time.perf_counter() - start}


def main() -> None:
    from peers import Row, arguments, report

    args = arguments(__doc__)
    found = [{e: measure(e, args) for e in ("ours", "theirs")} for _ in range(args.rounds + 1)][1:]
    rows = []
    for name in ("first token", "process", "peak"):
        pairs = [(f["ours"][name], f["theirs"][name]) for f in found]
        ours, theirs = zip(*pairs)
        ratio = median(b / a for a, b in pairs)  # less is better
        rows.append(Row(name, median(ours), median(theirs), ratio))
    report(args, "seconds, seconds, MiB", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(*sys.argv[2:5], int(sys.argv[5]))
    else:
        main()
