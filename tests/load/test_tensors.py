"""Weight files, good and broken: safetensors by their own package or by hand, and pickles."""

import gc
import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mistralrs.api.errors import CheckpointError
from mistralrs.load.tensors import DTYPES, main_dtype, read_checkpoint
from mistralrs.nn.checkpoint import Lazy

ONE = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def write(path: Path, header: dict | bytes, data: bytes, length: int | None = None) -> Path:
    """A safetensors file by hand, with whatever is wrong about it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture(params=["0", "1"], ids=["mapped", "read"])
def way(request, monkeypatch):
    monkeypatch.setenv("MISTRALRS_NO_MMAP", request.param)


@pytest.mark.usefixtures("way")
def test_every_dtype_and_shape(tmp_path):
    tensors = {}
    for name, dtype in DTYPES.items():
        raw = torch.arange(48, dtype=torch.uint8) % (2 if dtype == torch.bool else 100)
        value = raw.view(dtype)
        parts = {name: value, f"{name} matrix": value.view(2, -1), f"{name} number": value[0]}
        tensors |= {part: tensor.clone() for part, tensor in parts.items()}
    tensors["empty"] = torch.empty(0, 4)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    out = read_checkpoint([tmp_path / "model.safetensors"])
    assert set(out) == set(tensors)
    for name, expected in tensors.items():
        loaded = out[name].load()
        assert (loaded.shape, loaded.dtype) == (expected.shape, expected.dtype), name
        assert out[name].shape == tuple(expected.shape)
        assert torch.equal(as_bytes(loaded), as_bytes(expected)), name


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def test_mapped_tensors_share_the_file_and_outlive_the_reader(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(64), "b": torch.arange(64.0)}, path)
    out = read_checkpoint([path])
    first, again, other = out["a"].load(), out["a"].load(), out["b"].load()
    assert first.data_ptr() == again.data_ptr()
    assert abs(other.data_ptr() - first.data_ptr()) == 256
    before = path.read_bytes()
    del out, first, again
    gc.collect()
    other += 1  # copy on write: the change stays in this process
    assert torch.equal(other, torch.arange(64.0) + 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("pad", range(8))
def test_unaligned_tensors(tmp_path, pad):
    values = torch.tensor([1.5, -2.0])
    header = json.dumps(ONE).encode() + b" " * pad
    path = write(tmp_path / "model.safetensors", header, values.numpy().tobytes())
    loaded = read_checkpoint([path])["w"].load()
    assert torch.equal(loaded, values)
    assert loaded.data_ptr() % 4 == 0


def test_file_order(tmp_path):
    header = {
        "late": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]},
        "early": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
    }
    path = write(tmp_path / "model.safetensors", header, bytes(range(5)))
    out = read_checkpoint([path])
    assert list(out) == ["early", "late"]
    assert out["late"].load().tolist() == [3, 4]


def entry(**changes):
    return {"w": {**ONE["w"], **changes}}


TWO = {**ONE, "v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}
HOLE = {**ONE, "v": {"dtype": "U8", "shape": [4], "data_offsets": [9, 13]}}
HALF = b'"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
TWICE = b"{%s,%s}" % (HALF, HALF)
# header, data, declared header length or None, message
BROKEN = {
    "zero bytes": (None, b"", None, "is empty: download the file again"),
    "five bytes": (None, b"\x10\0\0\0\0", None, "is not a safetensors file"),
    "header only begun": (
        b'{"w": {"dty',
        b"",
        400,
        "has 19 bytes, its header alone 408: it is truncated",
    ),
    "truncated data": (
        ONE,
        bytes(5),
        None,
        r"has 74 bytes, its header promises 77: it is truncated",
    ),
    "no data": (ONE, b"", None, "it is truncated, download the file again"),
    "trailing bytes": (ONE, bytes(9), None, "has 78 bytes, its header promises 77: download"),
    "bad JSON": (b'{"w": ', bytes(8), None, "header of .* is damaged"),
    "not unicode": (b'{"\xff": 1}', bytes(8), None, "header of .* is damaged"),
    "wrong magic": (None, b"PK\x03\x04 a zip archive", None, "is not a safetensors file"),
    "huge header": (b"{}", b"", 1 << 62, "is not a safetensors file"),
    "LFS pointer": (None, b"version https://git-lfs.github.com/spec/v1\n", None, "git lfs pull"),
    "GGUF": (None, b"GGUF\3\0\0\0" + bytes(40), None, "load it with Which.GGUF"),
    "a list": (b"[]      ", b"", None, "is not a safetensors file"),
    "entry is a list": ({"w": []}, b"", None, "damaged at tensor 'w'"),
    "no shape": ({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8), None, "at tensor 'w'"),
    "three offsets": (entry(data_offsets=[0, 4, 8]), bytes(8), None, "damaged at tensor 'w'"),
    "negative size": (entry(shape=[-2]), bytes(8), None, "damaged at tensor 'w'"),
    "fractional size": (entry(shape=[2.0]), bytes(8), None, "damaged at tensor 'w'"),
    "backward offsets": (entry(data_offsets=[8, 0]), bytes(8), None, "has -8 bytes, its shape"),
    "wrong size": (entry(shape=[3]), bytes(8), None, r"8 bytes, its shape \[3\] of F32 needs 12"),
    "unknown dtype": (entry(dtype="F4"), bytes(8), None, "has dtype F4; readable are F64, F32"),
    "overlap": (TWO, bytes(12), None, "'v' of .* overlaps the one before it"),
    "hole": (HOLE, bytes(13), None, "'v' of .* leaves a hole before it"),
    "one name twice": (TWICE, bytes(8), None, "'w' occurs twice"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    header, data, length, message = BROKEN[case]
    path = tmp_path / "model.safetensors"
    if header is None:
        path.write_bytes(data)
    else:
        write(path, header, data, length)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint([path])
    assert str(path) in str(error.value)


def test_missing_file_and_one_name_in_two_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.safetensors cannot be read: .*No such file"):
        read_checkpoint([tmp_path / "a.safetensors"])
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"w": torch.ones(1)}, tmp_path / name)
    both = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    with pytest.raises(
        CheckpointError, match=r"'w' is both in a\.safetensors and in b\.safetensors"
    ):
        read_checkpoint(both)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}], ids=["flat", "nested"])
def test_pickles(tmp_path, old, wrap):
    state = {"w": torch.randn(3, 4).bfloat16(), "b": torch.arange(4), "version": 3}
    path = tmp_path / "pytorch_model.bin"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=not old)
    out = read_checkpoint([path])
    assert {name: (t.shape, t.dtype) for name, t in out.items()} == {
        "w": ((3, 4), torch.bfloat16),
        "b": ((4,), torch.int64),
    }
    assert torch.equal(out["w"].load(), state["w"])


class Unsafe:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (open, ("must-not-exist", "w"))


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch, old):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": Unsafe()}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match="runs code when opened, which is refused"):
        read_checkpoint([path])
    assert not Path("must-not-exist").exists()


def broken_pickles(path: Path):
    torch.save({"w": torch.randn(1000)}, path)
    whole = path.read_bytes()
    yield whole[:2000]
    yield whole[:-40]
    yield b""
    yield b"<html>not found</html>"
    yield pickle.dumps([1, 2], 2)
    torch.save([torch.ones(1)], path)
    yield path.read_bytes()


def test_broken_pickles(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    for data in list(broken_pickles(path)):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            read_checkpoint([path])


def test_main_dtype():
    lazies = {"a": Lazy.of(torch.ones(9).half()), "b": Lazy.of(torch.ones(4))}
    assert main_dtype(lazies) is torch.float16
    assert main_dtype(lazies | {"c": Lazy.of(torch.ones(1))}) is torch.float32
    assert main_dtype({"q": Lazy.of(torch.ones(99, dtype=torch.uint8))}) is None


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells resident pages")
def test_released_tensors_leave_memory_and_come_back(tmp_path):
    value = torch.arange(1 << 20, dtype=torch.int32)
    save_file({"w": value}, tmp_path / "model.safetensors")
    lazy = read_checkpoint([tmp_path / "model.safetensors"])["w"]
    tensor = lazy.load()
    assert torch.equal(tensor, value)
    before = resident(tmp_path / "model.safetensors")
    lazy.release()
    assert resident(tmp_path / "model.safetensors") <= before - 4000
    assert torch.equal(tensor, value)


def resident(path: Path) -> int:
    """KiB of a mapped file in the memory of this process."""
    pages = re.findall(
        rf"{re.escape(str(path))}\n(?:\w+:.*\n)*?Rss:\s+(\d+)", Path("/proc/self/smaps").read_text()
    )
    return sum(map(int, pages))
