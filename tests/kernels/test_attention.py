"""Paged attention against float64, and the same bits however a prompt is cut and batched."""

from types import SimpleNamespace

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.attention import attention, write

PAGE = 32


def ragged(past, fresh, page=PAGE):
    """Indices of sequences with `past` + `fresh` tokens in pages dealt at random; the page count."""
    lengths = [p + n for p, n in zip(past, fresh, strict=True)]
    needs = [-(-n // page) for n in lengths]
    deal = iter(torch.randperm(sum(needs)).tolist())
    table = torch.zeros(len(past), max(needs) + 2, dtype=torch.int32)
    for b, need in enumerate(needs):
        table[b, :need] = torch.tensor([next(deal) for _ in range(need)], dtype=torch.int32)
    starts = torch.tensor([0, *fresh]).cumsum(0).int()
    return SimpleNamespace(starts=starts, lengths=torch.tensor(lengths).int(), pages=table), sum(
        needs
    )


def cache(pages, heads, k_width, v_width, dtype, page=PAGE):
    """Empty pages: all NaN, so that a key that was never written cannot be read unnoticed."""
    shape = pages, heads, page
    return (torch.full((*shape, width), torch.nan, dtype=dtype) for width in (k_width, v_width))


def filled(past, fresh, heads, groups, k_width, v_width, dtype, page=PAGE):
    """A case: queries of the fresh tokens, the caches with all tokens in them, and the batch."""
    batch, pages = ragged(past, fresh, page)
    keys, values = cache(pages, groups, k_width, v_width, dtype, page)
    ends = [0, *batch.lengths.cumsum(0).tolist()]
    every = SimpleNamespace(
        starts=torch.tensor(ends).int(), lengths=batch.lengths, pages=batch.pages
    )
    write(
        torch.randn(ends[-1], groups, k_width),
        torch.randn(ends[-1], groups, v_width),
        keys,
        values,
        every,
    )
    return torch.randn(sum(fresh), heads, k_width), keys, values, batch


def reference(q, keys, values, batch, **rule):
    with kernels.use("reference"):
        return attention(q.double(), keys.double(), values.double(), batch, **rule)


LAYOUTS = {  # past and fresh tokens of each sequence
    "one": ([0], [1]),
    "decode": ([0, 31, 32, 33, 100], [1, 1, 1, 1, 1]),
    "prefill": ([0, 0], [70, 5]),
    "mixed": ([40, 0, 600, 3], [1, 33, 20, 60]),
    "long": ([1300], [1]),
}
CASES = [  # heads, groups, width of keys, width of values, rule
    (2, 2, 16, 16, {}),
    (4, 2, 64, 64, {"window": 7}),
    (8, 2, 33, 20, {"softcap": 5.0}),
    (7, 1, 128, 128, {"window": 40, "sinks": True}),
    (80, 1, 40, 24, {"sinks": True, "softcap": 20.0, "window": 513}),
    (4, 2, 64, 64, {"causal": False}),
    (3, 1, 40, 40, {"causal": False, "window": 9}),
    (4, 2, 16, 16, {"causal": False, "window": 600, "sinks": True}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention(isa, layout, case, dtype):
    heads, groups, k_width, v_width, rule = case
    rule = {"scale": k_width**-0.5, **rule}
    if rule.get("sinks"):
        rule["sinks"] = torch.randn(heads)
    args = filled(*LAYOUTS[layout], heads, groups, k_width, v_width, dtype)
    got, want = attention(*args, **rule), reference(*args, **rule)
    # Scores below 10 from 128 float32 products, weights that add up to one: tens of 2^-24.
    torch.testing.assert_close(got.double(), want, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("page", [1, 7, 16, 128])
def test_other_page_sizes(isa, page):
    args = filled([5, 0, 140], [1, 30, 9], 4, 2, 24, 24, torch.float32, page)
    torch.testing.assert_close(
        attention(*args, scale=0.2).double(),
        reference(*args, scale=0.2),
        rtol=2e-5,
        atol=5e-6,
    )


@pytest.mark.parametrize("fresh", [1, 3000])
def test_pages_as_large_as_the_tile_of_an_image(isa, fresh):
    """Cross-attention: keys that no query belongs to, few or many queries, pages among those of other layers."""
    q, keys, values, batch = filled([0], [3202], 4, 1, 24, 24, torch.bfloat16, 1601)
    q, batch.starts = q[:fresh], torch.tensor([0, fresh]).int()
    batch.lengths -= 1601
    rule = {"scale": 0.2, "causal": False}
    got, want = attention(q, keys, values, batch, **rule), reference(q, keys, values, batch, **rule)
    torch.testing.assert_close(got.double(), want, rtol=2e-5, atol=5e-6)
    if fresh == 1:
        among = [torch.stack((side.flip(0), side), 1)[:, 1] for side in (keys, values)]
        assert torch.equal(got, attention(q, *among, batch, **rule))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_values_that_are_a_view_of_the_keys(isa, dtype):
    q, keys, _, batch = filled([40, 0], [3, 65], 16, 1, 72, 64, dtype)
    args = q, keys, keys[..., :64], batch
    got, want = attention(*args, scale=0.1), reference(*args, scale=0.1)
    torch.testing.assert_close(got.double(), want, rtol=2e-5, atol=5e-6)


def test_caches_with_strides(isa):
    q, keys, values, batch = filled([40, 0], [3, 65], 4, 2, 24, 24, torch.float32)
    want = attention(q, keys, values, batch, scale=0.2)
    by_token = [side.transpose(1, 2).contiguous().transpose(1, 2) for side in (keys, values)]
    assert torch.equal(want, attention(q, *by_token, batch, scale=0.2))


@pytest.mark.parametrize("rule", [{}, {"window": 50}, {"softcap": 9.0, "sinks": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bits_do_not_depend_on_chunks_batches_or_threads(isa, dtype, rule):
    heads, groups, width, length = 6, 2, 40, 1100
    rule = {"scale": width**-0.5, **rule}
    if rule.get("sinks"):
        rule["sinks"] = torch.randn(heads)
    q, keys, values, batch = filled([0, 200], [length, 1], heads, groups, width, width, dtype)
    whole = attention(q, keys, values, batch, **rule)

    def chunk(first, end, table):
        part = SimpleNamespace(
            starts=torch.tensor([0, end - first]).int(),
            lengths=torch.tensor([end]).int(),
            pages=table,
        )
        return attention(q[first:end], keys, values, part, **rule)

    for cuts in ([0, 1, 2, 40, 41, 600, 1099, 1100], [0, 512, 1024, 1100]):
        parts = [chunk(a, b, batch.pages[:1]) for a, b in zip(cuts, cuts[1:], strict=False)]
        assert torch.equal(whole[:length], torch.cat(parts)), cuts
    for threads in (1, 16):  # the second cuts the work into segments of keys
        with kernels.use(isa, threads=threads):
            assert torch.equal(whole, attention(q, keys, values, batch, **rule)), threads
            assert torch.equal(whole[1099:length], chunk(1099, 1100, batch.pages[:1])), threads


@pytest.mark.parametrize("window", [None, 9, 600])
def test_bits_without_causality(isa, window):
    """A text alone, among others, and with its keys cut into segments for more threads."""
    rule = {"scale": 0.2, "window": window, "causal": False}
    q, keys, values, batch = filled([0, 0, 0], [40, 1100, 7], 6, 2, 40, 40, torch.float32)
    whole = attention(q, keys, values, batch, **rule)
    alone = SimpleNamespace(
        starts=torch.tensor([0, 1100]).int(), lengths=batch.lengths[1:2], pages=batch.pages[1:2]
    )
    for threads in (1, 16):
        with kernels.use(isa, threads=threads):
            assert torch.equal(whole, attention(q, keys, values, batch, **rule)), threads
            assert torch.equal(whole[40:1140], attention(q[40:1140], keys, values, alone, **rule))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_write_rounds_as_torch_does(isa, dtype):
    batch, pages = ragged([30, 0, 7], [40, 1, 3])
    k, v = torch.randn(44, 2, 2, 21).unbind(2)  # slices: rows and heads have strides
    k = k * torch.logspace(-9, 9, 21)  # subnormal numbers and infinities of float16
    sides = [list(cache(pages, 2, 21, 21, dtype)) for _ in range(2)]
    write(k, v, *sides[0], batch)
    with kernels.use("reference"):
        write(k, v, *sides[1], batch)
    for got, want in zip(*sides, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
