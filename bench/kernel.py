"""Are the compiled kernels faster than torch's own operators? Ratios of medians, measured in turn.

python bench/kernel.py [quantize] [linear] [affine] [attention] [recurrence] [gather]
"""

import sys
import time
from dataclasses import replace
from functools import partial
from itertools import cycle
from statistics import median
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from mistralrs import kernels
from mistralrs.kernels.affine import FORMATS, affine, pack, unpack
from mistralrs.kernels.attention import attention
from mistralrs.kernels.gather import gather, gather_reference
from mistralrs.kernels.linear import linear
from mistralrs.kernels.recurrence import recurrence, recurrence_reference
from mistralrs.quant.ggml import KINDS
from mistralrs.quant.ggml_quantize import packed, quantize

TYPES = {KINDS[code].name: KINDS[code] for code in FORMATS}
CACHE = 128 << 20  # bytes of weights to rotate through, so that they come from memory
LINEAR = [  # rows, inner, columns
    (1, 1024, 3072), (1, 2048, 8192), (4, 2048, 8192), (8, 2048, 8192), (32, 2048, 8192),
    (128, 1024, 3072), (512, 1024, 3072), (512, 2048, 8192),
]  # fmt: skip
ATTENTION = [  # past tokens, new tokens, heads, groups, width
    (127, 1, 16, 8, 128), (2047, 1, 16, 8, 128), (2047, 1, 32, 8, 64), (0, 512, 16, 8, 128),
    (1536, 512, 16, 8, 128),
]  # fmt: skip

RECURRENCE = [  # sequences, tokens of each, heads, groups, keys, values, delta rule
    (1, 1, 32, 16, 128, 128, True), (1, 128, 32, 16, 128, 128, True), (8, 1, 32, 16, 128, 128, True),
    (1, 1, 48, 1, 128, 64, False), (1, 128, 48, 1, 128, 64, False),
]  # fmt: skip
GATHER = [(8, 128, 2048, 768), (512, 128, 2048, 768)]  # rows, matrices, inner, columns


def compare(ours, theirs, seconds=0.6):
    """Median seconds of both functions, called alternately."""
    ours(), theirs()
    times, end = ([], []), time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for run, into in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            run()
            into.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def row(*cells):
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def bench_linear():
    """Torch gets the activations in the dtype of the weights."""
    row("rows x inner -> columns", "weights", "ms", "GB/s", "GFLOP/s", "torch / ours")
    row(*["---"] * 6)
    for rows, inner, cols in LINEAR:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            size = inner * cols * dtype.itemsize
            count = max(2, CACHE // size) if rows <= 32 else 2
            weights = cycle([torch.randn(cols, inner).to(dtype) for _ in range(count)])
            x = torch.randn(rows, inner)
            narrow = x.to(dtype)
            own, other = compare(
                lambda x=x, weights=weights: linear(x, next(weights)),
                lambda x=narrow, weights=weights: F.linear(x, next(weights)),
            )
            speeds = size / own / 1e9, 2 * rows * inner * cols / own / 1e9
            row(f"{rows} x {inner} -> {cols}", str(dtype)[6:], f"{own * 1e3:.2f}",
                *(f"{speed:.1f}" for speed in speeds), f"{other / own:.2f}")  # fmt: skip


def bench_affine():
    """Quantized weights beside the same matrix in float32 (torch) and in bfloat16 (our float kernel)."""
    row(
        "rows x inner -> columns",
        "weights",
        "ms",
        "GB/s",
        "GOP/s",
        "torch f32 / ours",
        "bf16 / ours",
    )
    row(*["---"] * 7)
    for rows, inner, cols in LINEAR:
        dense, x = torch.randn(cols, inner), torch.randn(rows, inner)
        for name in ("Q8_0", "Q4_0", "Q4_K", "Q6_K"):
            tiles = packed(TYPES[name], dense).tiles
            size = tiles.data.nbytes
            weights = cycle(copies(tiles.data, rows))
            floats, halves = cycle(copies(dense, rows)), cycle(copies(dense.bfloat16(), rows))
            run = lambda x=x, t=tiles, w=weights: affine(x.clone(), replace(t, data=next(w)))  # noqa: E731
            own, other = compare(run, lambda x=x, w=floats: F.linear(x, next(w)))
            again, half = compare(run, lambda x=x, w=halves: linear(x, next(w)))
            row(f"{rows} x {inner} -> {cols}", name, f"{own * 1e3:.2f}", f"{size / own / 1e9:.1f}",
                f"{2 * rows * inner * cols / own / 1e9:.0f}", f"{other / own:.2f}", f"{half / again:.2f}")  # fmt: skip


def copies(matrix, rows):
    """Enough of them that few rows find their weights in memory, not in a cache."""
    count = max(2, CACHE // matrix.nbytes) if rows <= 32 else 1
    return [matrix.clone() for _ in range(count)]


def bench_attention():
    """Torch gets a dense cache, which needs no page table, and a mask where it cannot do without. Caches take turns, as
    those of the layers do, so that a long past comes from memory.
    """
    row("past + new, heads / groups x width", "cache", "ms", "torch / ours")
    row(*["---"] * 4)
    for past, fresh, heads, groups, width in ATTENTION:
        for dtype in (torch.float32, torch.bfloat16):
            length = past + fresh
            count = -(-length // 32)
            copies = max(1, CACHE // (2 * count * groups * 32 * width * dtype.itemsize))
            pair = torch.randn(2, count, groups, 32, width).to(dtype)
            caches = cycle([pair.clone() for _ in range(copies)])
            pair = torch.randn(2, 1, groups, length, width).to(dtype)
            others = cycle([pair.clone() for _ in range(copies)])
            batch = SimpleNamespace(
                starts=torch.tensor([0, fresh]).int(),
                lengths=torch.tensor([length]).int(),
                pages=torch.randperm(count).int()[None],
            )
            q = torch.randn(fresh, heads, width)
            causal = dict(is_causal=True) if past == 0 and fresh > 1 else {}
            if past and fresh > 1:
                causal = dict(attn_mask=torch.ones(fresh, length, dtype=torch.bool).tril(past))
            narrow = q.to(dtype).transpose(0, 1)[None]
            torch_attention = partial(F.scaled_dot_product_attention, enable_gqa=True, **causal)
            own, other = compare(
                lambda: attention(q, *next(caches), batch, scale=0.1),  # noqa: B023
                lambda: torch_attention(narrow, *next(others)),  # noqa: B023
            )
            row(f"{past} + {fresh}, {heads} / {groups} x {width}", str(dtype)[6:],
                f"{own * 1e3:.3f}", f"{other / own:.2f}")  # fmt: skip


def bench_recurrence():
    """Against the reference, which loops over tokens in Python."""
    row("sequences x tokens, heads / groups x keys x values", "rule", "ms", "torch / ours")
    row(*["---"] * 4)
    for sequences, count, heads, groups, keys, values, delta in RECURRENCE:
        rows = sequences * count
        q, k = (F.normalize(torch.randn(rows, groups, keys), dim=-1) for _ in range(2))
        v, (decay, beta) = torch.randn(rows, heads, values), torch.rand(2, rows, heads)
        states = cycle(torch.zeros(9, sequences, heads, keys, values).unbind())
        batch = SimpleNamespace(
            starts=torch.arange(0, rows + 1, count).int(),
            slots=torch.arange(sequences).int(),
            fresh=torch.zeros(sequences, dtype=torch.bool),
            memo={},
        )
        given = q, k, v, decay, beta if delta else None
        own, other = compare(
            lambda x=given, s=states, b=batch: recurrence(*x, next(s), b),
            lambda x=given, s=states, b=batch: recurrence_reference(*x, next(s), b),
        )
        row(f"{sequences} x {count}, {heads} / {groups} x {keys} x {values}",
            "gated delta" if delta else "Mamba 2", f"{own * 1e3:.3f}", f"{other / own:.1f}")  # fmt: skip


def loop(x, w, ids):
    """An expert at a time with the compiled `linear`."""
    out = x.new_empty(len(x), w.shape[1])
    for index in ids.unique().tolist():
        rows = (ids == index).nonzero()[:, 0]
        out[rows] = linear(x[rows], w[index])
    return out


def bench_gather():
    """Against the reference, and against one compiled product for each expert; every token visits eight."""
    row("rows of 128 experts", "weights", "ms", "torch / ours", "loop / ours")
    row(*["---"] * 5)
    for rows, count, inner, cols in GATHER:
        for dtype in (torch.float32, torch.bfloat16):
            x, w = torch.randn(rows, inner), torch.randn(count, cols, inner).to(dtype)
            picks = [torch.rand(rows // 8, count).topk(8).indices.flatten() for _ in range(16)]
            # Each has its own turn through the picks: all of them meet the same experts.
            ours, theirs, looped = (
                lambda f=f, x=x, w=w, ids=ids: f(x, w, next(ids))
                for f, ids in ((f, cycle(picks)) for f in (gather, gather_reference, loop))
            )
            (own, other), (again, third) = compare(ours, theirs), compare(ours, looped)
            row(f"{rows} x {inner} -> {cols}", str(dtype)[6:], f"{own * 1e3:.2f}",
                f"{other / own:.2f}", f"{third / again:.2f}")  # fmt: skip


def bench_quantize():
    """Millions of weights a second from bfloat16 to blocks, and from blocks to tiles."""
    row("type", "quantize", "pack", "unpack")
    row(*["---"] * 4)
    dense = torch.randn(2048, 3072).bfloat16()
    for name, kind in TYPES.items():
        raw = quantize(kind, dense)
        tiles = pack(kind.code, raw)
        runs = (
            partial(quantize, kind, dense), partial(pack, kind.code, raw), partial(unpack, tiles),
        )  # fmt: skip
        row(name, *(f"{dense.numel() / compare(run, int)[0] / 1e6:.0f}" for run in runs))


BENCHES = {
    "quantize": bench_quantize, "linear": bench_linear, "affine": bench_affine, "attention": bench_attention,
    "recurrence": bench_recurrence, "gather": bench_gather,
}  # fmt: skip

if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(kernels.describe()["threads"])
    print(kernels.describe(), "torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
