"""Packed integer weights: no loss, products within their rounding bound, and the same bits for any batch."""

import gguf
import numpy as np
import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels import affine as kernel

# Number of the type: where its codes are, and where its float16 numbers are, in a block.
TYPES = {
    "Q4_0": (2, range(2, 18), [0]),
    "Q4_1": (3, range(4, 20), [0, 2]),
    "Q5_0": (6, range(2, 22), [0]),
    "Q5_1": (7, range(4, 24), [0, 2]),
    "Q8_0": (8, range(2, 34), [0]),
    "Q2_K": (10, range(16, 80), [80, 82]),
    "Q3_K": (11, range(96), [108]),
    "Q4_K": (12, range(16, 144), [0, 2]),
    "Q5_K": (13, range(16, 176), [0, 2]),
    "Q6_K": (14, range(192), [208]),
}
SHAPES = [(1, 1, 1), (2, 40, 2), (3, 16, 1), (5, 17, 3), (9, 33, 2), (70, 20, 1), (0, 8, 1)]


def random_blocks(name: str, rows: int, inner: int) -> torch.Tensor:
    """Rows of blocks with any codes and scales, and float16 numbers of ordinary size."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    generator = np.random.default_rng(rows)
    raw = generator.integers(0, 256, (rows, inner // block, size), np.uint8)
    for at in TYPES[name][2]:
        numbers = generator.uniform(-0.1, 0.1, raw.shape[:2]).astype(np.float16)
        raw[..., at : at + 2] = numbers[..., None].view(np.uint8)
    return torch.from_numpy(raw.reshape(rows, -1))


def decoded(name: str, raw: torch.Tensor) -> torch.Tensor:
    """What the gguf package makes of the blocks."""
    return torch.from_numpy(
        gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[name]).copy()
    )


def without_codes(name: str, raw: torch.Tensor) -> torch.Tensor:
    """The same blocks with every code 0."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    blocks = raw.clone().view(len(raw), -1, size)
    blocks[..., list(TYPES[name][1])] = 0
    return blocks.view(len(raw), -1)


@pytest.mark.parametrize("name", TYPES)
def test_packing_loses_nothing(name):
    raw = random_blocks(name, 37, 768)
    tiles = kernel.pack(TYPES[name][0], raw)
    assert tiles.shape == (37, 768)
    assert torch.equal(kernel.unpack(tiles), raw)
    want = decoded(name, raw)
    assert torch.equal(kernel.dequantize(tiles).view(torch.int32), want.view(torch.int32))
    ids = torch.tensor([36, 0, 36, 5])
    assert torch.equal(kernel.dequantize(tiles, ids=ids), want[ids])


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_affine(isa, name, shape):
    rows, cols, inner = shape[0], shape[1], shape[2] * 256
    raw = random_blocks(name, cols, inner)
    x, bias = torch.randn(rows, inner) * torch.rand(rows, 1) * 10, torch.randn(cols)
    w = decoded(name, raw)
    got = kernel.affine(x, kernel.pack(TYPES[name][0], raw), bias)
    steps = kernel.floats(kernel.quantize(x)).double()
    want = steps @ w.double().T + bias.double()
    # Sums over a group are exact, and a sum of numbers in a chain is off by as many roundings of the sum of
    # absolute values as the chain has links (Higham 2002): one for each group and its min, a few for scales.
    # The two terms of a weight, scale * code and min, are at most |w| + |min| and |min|; code 0 shows the min.
    sizes = w.abs() + 2 * decoded(name, without_codes(name, raw)).abs()
    bound = steps.abs() @ sizes.double().T + bias.abs().double()
    assert ((got.double() - want).abs() <= bound * (inner / 16 + 16) * 2**-24).all()


@pytest.mark.parametrize("name", TYPES)
def test_largest_codes_do_not_overflow(isa, name):
    """Every code, scale and activation at the end of its range, with either sign."""
    for byte in (0x00, 0x7F, 0x80, 0xFF):
        raw = torch.full_like(random_blocks(name, 16, 256), byte)
        blocks = raw.view(16, -1, gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1])
        for at in TYPES[name][2]:
            blocks[..., at : at + 2] = torch.tensor([0, 0x3C], dtype=torch.uint8)  # 1.0
        x = torch.cat([torch.full((1, 256), 127.0), torch.full((1, 256), -127.0)])
        want = x.double() @ decoded(name, raw).double().T
        got = kernel.affine(x, kernel.pack(TYPES[name][0], raw))
        torch.testing.assert_close(got.double(), want, rtol=2**-19, atol=0)


@pytest.mark.parametrize("name", TYPES)
def test_rows_do_not_depend_on_the_batch(isa, name):
    tiles = kernel.pack(TYPES[name][0], random_blocks(name, 50, 512))
    x, bias = torch.randn(70, 512), torch.randn(50)
    whole = kernel.affine(x, tiles, bias)
    for sizes in ([1] * 70, [2, 3, 4, 5, 6, 50], [33, 37]):
        assert torch.equal(
            whole, torch.cat([kernel.affine(p, tiles, bias) for p in x.split(sizes)])
        )
    for threads in (1, 3):
        with kernels.use(isa, threads=threads):
            assert torch.equal(whole, kernel.affine(x, tiles, bias))


@pytest.mark.parametrize("name", ["Q4_K", "Q8_0"])
def test_stacks(isa, name):
    raw = random_blocks(name, 5 * 24, 512).view(5, 24, -1)
    tiles, x = kernel.pack(TYPES[name][0], raw), torch.randn(11, 512)
    ids = torch.tensor([4, 0, 4, 2, 2, 2, 0, 4, 4, 4, 4])
    single = [kernel.affine(x, kernel.pack(TYPES[name][0], matrix)) for matrix in raw]
    for index in range(5):
        assert torch.equal(kernel.affine(x, tiles, index=index), single[index])
    assert torch.equal(
        kernel.gather(x, tiles, ids), torch.stack([single[e][i] for i, e in enumerate(ids)])
    )
    assert torch.equal(kernel.unpack(tiles), raw)


def test_quantized_activations(isa):
    x = torch.randn(7, 320) * torch.logspace(-30, 30, 7)[:, None]
    x[2, 64:96] = 0
    largest = x.view(7, 10, 32).abs().amax(-1).repeat_interleave(32, 1)
    error = (kernel.floats(kernel.quantize(x)) - x).abs()
    assert (error <= largest / 254 * (1 + 2**-14)).all()


def test_activations_are_quantized_once_and_again_when_written(isa):
    x = torch.randn(2, 64)
    rows = kernel.quantize(x)
    assert kernel.quantize(x) is rows
    x += 1
    assert kernel.quantize(x) is not rows


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_spoils_its_row_only(isa, value):
    x, tiles = torch.randn(3, 256), kernel.pack(12, random_blocks("Q4_K", 20, 256))
    clean = kernel.affine(x, tiles)
    dirty = x.clone()
    dirty[1, 100] = value
    got = kernel.affine(dirty, tiles)
    assert got[1].isnan().all()
    assert torch.equal(got[[0, 2]], clean[[0, 2]])


def test_reference():
    raw = random_blocks("Q4_K", 20, 256)
    tiles, x = kernel.pack(12, raw), torch.randn(3, 256)
    with kernels.use("reference"):
        torch.testing.assert_close(kernel.affine(x, tiles), x @ decoded("Q4_K", raw).T)
