"""Coded weights: decoding by independent formulas, products that are those of the decoded matrix, bit for bit."""

import numpy as np
import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels import coded as kernel
from mistralrs.kernels.coded import Codes
from mistralrs.kernels.linear import linear

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
CASES = {  # numbers, bits, dtype of scales, group, band, zeros
    "afq2": ("shifted", 2, torch.float16, 64, 1, True),
    "afq3": ("shifted", 3, torch.float16, 64, 1, True),
    "afq4": ("shifted", 4, torch.bfloat16, 32, 1, True),
    "afq6": ("shifted", 6, torch.float32, 128, 1, True),
    "afq8": ("shifted", 8, torch.float16, 64, 1, True),
    "hqq4": ("centered", 4, torch.float16, 64, 1, True),
    "hqq8": ("centered", 8, torch.float32, 64, 1, True),
    "q8k": ("integers", 8, torch.float32, 256, 1, False),
    "f8q8": ("integers", 8, torch.float8_e4m3fn, 32, 1, False),
    "mxfp4": ("e2m1", 4, torch.float8_e8m0fnu, 32, 1, False),
    "fp8 squares": ("e4m3", 8, torch.float32, 128, 128, False),
    "fp8 bf16 squares": ("e4m3", 8, torch.bfloat16, 128, 128, False),
    "fp8 matrix": ("e4m3", 8, torch.float32, 1 << 20, 1 << 20, False),
}
SHAPES = [
    (1, 1, 32),
    (2, 40, 96),
    (3, 16, 544),
    (8, 5, 1056),
    (9, 33, 512),
    (70, 29, 608),
    (0, 8, 64),
]


def random_codes(case: str, cols: int, inner: int, count: int = 0) -> Codes:
    """Any codes, scales of ordinary size; no nan."""
    numbers, bits, dtype, group, band, zeros = CASES[case]
    lead = (count,) if count else ()
    codes = torch.randint(0, 256, (*lead, cols, inner * bits // 8), dtype=torch.uint8)
    if numbers == "e4m3":
        codes[codes & 127 == 127] = 3
    shape = (*lead, -(-cols // band), -(-inner // group))
    if dtype is torch.float8_e8m0fnu:
        scales = torch.randint(110, 140, shape, dtype=torch.uint8).view(dtype)
    else:
        scales = (torch.rand(shape) * 2).to(dtype)
    return Codes(
        numbers, bits, codes, scales, torch.randn(shape).to(dtype) if zeros else None, group, band
    )


def decoded(w: Codes) -> torch.Tensor:
    """The matrix by the formulas, in numpy and one rounding after another."""
    bits = np.unpackbits(w.codes.numpy(), axis=-1, bitorder="little")
    q = (bits.reshape(*bits.shape[:-1], -1, w.bits) << np.arange(w.bits)).sum(-1)
    cols, inner = w.shape

    def wide(t: torch.Tensor) -> np.ndarray:
        return t.float().numpy().repeat(w.group, 1)[:, :inner].repeat(w.band, 0)[:cols]

    scale = wide(w.scales)
    if w.scales.dtype is torch.float8_e4m3fn:
        scale = scale / np.float32(448)
    if w.numbers == "shifted":
        out = q.astype(np.float32) * scale + wide(w.zeros)
    elif w.numbers == "centered":
        out = (q.astype(np.float32) - wide(w.zeros)) * scale
    elif w.numbers == "integers":
        out = q.astype(np.uint8).view(np.int8).astype(np.float32) * scale
    elif w.numbers == "e2m1":
        out = E2M1[q] * scale
    else:
        out = torch.from_numpy(q.astype(np.uint8)).view(torch.float8_e4m3fn).float().numpy() * scale
    return torch.from_numpy(out)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int32)


@pytest.mark.parametrize("case", CASES)
def test_decode(isa, case):
    w = random_codes(case, 37, 544)
    want = decoded(w)
    assert torch.equal(bits_of(kernel.decode(w)), bits_of(want))
    ids = torch.tensor([36, 0, 36, 5])
    assert torch.equal(kernel.decode(w, ids), want[ids])
    assert torch.equal(bits_of(kernel.decode_reference(w, None)), bits_of(want))


@pytest.mark.parametrize("numbers", ["e4m3", "e2m1"])
def test_every_code_and_scale(isa, numbers):
    if numbers == "e4m3":
        codes = torch.arange(256, dtype=torch.uint8).view(1, 256)
        w = Codes("e4m3", 8, codes, torch.ones(1, 1), None, 256)
        want = codes.view(torch.float8_e4m3fn).float()
    else:  # every scale with every code
        codes = torch.arange(16, dtype=torch.uint8).repeat(2)
        scales = torch.arange(256, dtype=torch.uint8).view(-1, 1).view(torch.float8_e8m0fnu)
        w = Codes("e2m1", 4, kernel.pack(codes, 4).repeat(256, 1), scales, None, 32)
        want = torch.from_numpy(E2M1).double().repeat(256, 2) * scales.double()
        want = want.float()
    for found in (kernel.decode(w), kernel.decode_reference(w, None)):
        torch.testing.assert_close(found, want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_pack(bits):
    values = torch.randint(0, 1 << bits, (3, 5, 64), dtype=torch.uint8)
    packed = kernel.pack(values, bits)
    assert packed.shape == (3, 5, 8 * bits)
    assert torch.equal(kernel.unpack(packed, bits), values)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_coded(isa, case, shape):
    rows, cols, inner = shape
    w = random_codes(case, cols, inner)
    x, bias, matrix = torch.randn(rows, inner), torch.randn(cols), decoded(w)
    got = kernel.coded(x, w, bias)
    assert torch.equal(got, linear(x, matrix, bias))
    # A sum of numbers is off by as many roundings of the sum of absolute values as its chain has links (Higham 2002).
    want = x.double() @ matrix.double().T + bias.double()
    bound = x.double().abs() @ matrix.double().abs().T + bias.double().abs()
    assert ((got.double() - want).abs() <= bound * (inner + 2) * 2**-24).all()


@pytest.mark.parametrize("case", ["mxfp4", "afq3", "fp8 squares"])
def test_rows_and_threads_change_nothing(isa, case):
    w, x = random_codes(case, 75, 1120), torch.randn(67, 1120)
    whole = kernel.coded(x, w)
    for cut in (1, 2, 7, 8, 9, 40):
        with kernels.use(isa, threads=2):
            assert torch.equal(torch.cat([kernel.coded(part, w) for part in x.split(cut)]), whole)


@pytest.mark.parametrize("case", CASES)
def test_gather(isa, case):
    w, x = random_codes(case, 40, 96, count=5), torch.randn(33, 96)
    ids = torch.randint(0, 4, (33,))  # one matrix is not asked for
    want = torch.stack([kernel.coded(x[m : m + 1], w.of(e))[0] for m, e in enumerate(ids.tolist())])
    assert torch.equal(kernel.gather(x, w, ids), want)
    torch.testing.assert_close(kernel.gather_reference(x, w, ids), want, rtol=1e-4, atol=1e-3)
    with pytest.raises(IndexError, match="5 matrices"):
        kernel.gather(x, w, ids + 5)


def test_no_rows():
    w = random_codes("mxfp4", 40, 96, count=5)
    assert kernel.gather(torch.empty(0, 96), w, torch.empty(0, dtype=torch.long)).shape == (0, 40)


@pytest.mark.parametrize(("group", "inner"), [(64, 100), (48, 96)])
def test_other_sizes_take_the_reference(group, inner):
    """No error and no other numbers where the kernels' steps of 32 do not fit."""
    codes = torch.randint(0, 255, (7, inner), dtype=torch.uint8) & 0x7E
    w = Codes("e4m3", 8, codes, torch.rand(7, -(-inner // group)), None, group)
    assert not kernel.ready(w)
    assert torch.equal(kernel.decode(w), decoded(w))
    x = torch.randn(3, inner)
    torch.testing.assert_close(kernel.coded(x, w), x @ decoded(w).T)
