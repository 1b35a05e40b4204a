"""Every ggml type: decoding equal to the gguf package bit for bit, and the contract of a Weight."""

import gguf
import numpy as np
import pytest
import torch

from mistralrs.quant.ggml import KINDS, GgmlWeight

BY_NAME = {kind.name: kind for kind in KINDS.values()}
# The gguf package decodes no intermediate types; their layouts are checked by hand below.
REFERENCED = [name for name in BY_NAME if name not in ("Q8_1", "Q8_K")]


def random_blocks(name: str, *shape: int) -> np.ndarray:
    """Every byte pattern is a valid block, infinite and nan scales included."""
    generator = np.random.default_rng(len(name))
    return generator.integers(0, 256, (*shape, BY_NAME[name].size), np.uint8).reshape(
        *shape[:-1], -1
    )


@pytest.mark.parametrize("name", REFERENCED)
def test_decoding_equals_gguf(name):
    kind, raw = BY_NAME[name], random_blocks(name, 40, 64)
    one = gguf.GGMLQuantizationType[name]
    assert (kind.code, kind.block, kind.size) == (one.value, *gguf.GGML_QUANT_SIZES[one])
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, one)
    found = kind.rows(raw)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    finite = np.isfinite(expected)
    assert finite.mean() > 0.5
    np.testing.assert_array_equal(found[finite].view(np.uint32), expected[finite].view(np.uint32))


def test_intermediate_types():
    q = np.arange(-16, 16, dtype=np.int8)
    head = np.array([0.5, 99], np.float16)
    block = np.concatenate([head.view(np.uint8), q.view(np.uint8)])
    np.testing.assert_array_equal(BY_NAME["Q8_1"].rows(block[None]), 0.5 * q[None])
    q = np.arange(256).astype(np.uint8).view(np.int8)
    block = np.concatenate(
        [np.float32([0.25]).view(np.uint8), q.view(np.uint8), np.zeros(32, np.uint8)]
    )
    np.testing.assert_array_equal(
        BY_NAME["Q8_K"].rows(block[None]), 0.25 * q[None].astype(np.float32)
    )


@pytest.mark.parametrize("name", ["Q4_0", "Q8_0", "MXFP4"])
def test_weight(name):
    generator = np.random.default_rng(1)
    dense = generator.standard_normal((3, 24, 64)).astype(np.float32)
    raw = gguf.quants.quantize(dense, gguf.GGMLQuantizationType[name])
    weight = GgmlWeight(BY_NAME[name], torch.from_numpy(raw))
    matrix = GgmlWeight(weight.kind, weight.raw[1])
    full, x = weight.dequantize(), torch.randn(5, 64)
    assert weight.shape == tuple(full.shape) == (3, 24, 64)
    assert matrix.nbytes == raw[1].nbytes
    assert matrix.bits == 8 * raw[1].nbytes / (24 * 64)
    bias = torch.randn(24)
    torch.testing.assert_close(matrix.matmul(x, bias), x @ full[1].T + bias)
    torch.testing.assert_close(weight.product(x, 2), x @ full[2].T)
    ids = torch.tensor([2, 0, 2, 1, 0])
    torch.testing.assert_close(
        weight.gather(x, ids), torch.stack([full[e] @ r for e, r in zip(ids, x)])
    )
    assert torch.equal(matrix.rows(torch.tensor([3, 0]), torch.float32), full[1][[3, 0]])


def test_stripes(monkeypatch):
    monkeypatch.setattr("mistralrs.quant.ggml.STRIPE", 7)
    raw = gguf.quants.quantize(np.ones((24, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    weight = GgmlWeight(BY_NAME["Q8_0"], torch.from_numpy(raw))
    x = torch.randn(2, 64)
    torch.testing.assert_close(weight.matmul(x), x @ weight.dequantize().T)
