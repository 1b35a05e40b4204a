"""Are the compiled kernels faster than torch's own operators? Ratios of medians, both measured in turn in one run.

python bench/kernel.py [linear] [attention]
"""

import sys
import time
from statistics import median

import torch
from torch.nn import functional as F

from mistralrs import kernels

CACHE = 128 << 20  # bytes of weights to rotate through, so that they come from memory


def compare(ours, torchs, seconds=0.6):
    """Median seconds of both functions, called alternately."""
    ours(), torchs()
    times, end = ([], []), time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for run, into in zip((ours, torchs), times, strict=True):
            start = time.perf_counter()
            run()
            into.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def linear():
    print(
        "\n| linear rows x inner -> columns | weights | ours ms | GB/s | GFLOP/s | torch / ours |\n|---|---|---|---|---|---|"
    )
    for rows, inner, cols in [(1, 1024, 3072), (1, 2048, 8192), (4, 2048, 8192), (8, 2048, 8192), (32, 2048, 8192),
                              (128, 1024, 3072), (512, 1024, 3072), (512, 2048, 8192)]:  # fmt: skip
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            size = inner * cols * dtype.itemsize
            count = max(2, CACHE // size) if rows <= 32 else 2
            weights = [torch.randn(cols, inner).to(dtype) for _ in range(count)]
            x, turn = torch.randn(rows, inner), [0]
            narrow = x.to(dtype)

            def next_weight(weights=weights, turn=turn):
                turn[0] += 1
                return weights[turn[0] % len(weights)]

            own, other = compare(
                lambda: kernels.linear(x, next_weight()), lambda: F.linear(narrow, next_weight())
            )
            print(f"| {rows} x {inner} -> {cols} | {str(dtype)[6:]} | {own * 1e3:.2f} | {size / own / 1e9:.1f} "
                  f"| {2 * rows * inner * cols / own / 1e9:.0f} | {other / own:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(kernels.describe()["threads"])
    print(kernels.describe(), "torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
    for name in sys.argv[1:] or ["linear"]:
        globals()[name]()
