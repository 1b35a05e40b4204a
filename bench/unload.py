"""Does unloading a model give its memory back? Loads, asks and unloads again and again in one process.

Prints MiB of resident memory while the model is loaded and after it was unloaded, and fails when the last cycle leaves
more than 2 % above the first. The first cycle is the reference, since libraries stay once they were loaded.

python bench/unload.py [MODEL] [--cycles 20] [--isq 4] [--tokens 16]
"""

import argparse
import sys
import threading
import time

import psutil

LIMIT = 1.02


def resident() -> float:
    """MiB of this process."""
    return psutil.Process().memory_info().rss / 2**20


def on_gpu() -> float:
    """MiB that torch holds of the first GPU."""
    import torch

    return torch.cuda.memory_reserved() / 2**20 if torch.cuda.is_available() else 0.0


def main() -> None:
    from mistralrs import CompletionRequest, Runner, Which, demo

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default=str(demo.model_path()))
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--isq")
    parser.add_argument("--tokens", type=int, default=16)
    args = parser.parse_args()

    request = CompletionRequest("The river", max_tokens=args.tokens)
    runner = Runner(Which.Plain(args.model), in_situ_quant=args.isq, pa_ctxt_len=4096)
    (model,) = runner.list_models()
    after = []
    print("cycle  loaded  unloaded     gpu  threads  seconds to load and answer")
    for cycle in range(args.cycles):
        start = time.perf_counter()
        runner.send_completion_request(request)  # loads it
        seconds = time.perf_counter() - start
        loaded = resident()
        runner.unload_model(model)
        after.append(resident())
        numbers = f"{loaded:7.1f} {after[-1]:9.1f} {on_gpu():7.1f} {threading.active_count():8d}"
        print(f"{cycle + 1:5d} {numbers} {seconds:8.2f}", flush=True)
    ratio = after[-1] / after[0]
    print(f"the last is {ratio:.3f} of the first")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
