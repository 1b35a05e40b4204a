"""GGUF files, good ones by the gguf package, and broken ones by hand."""

import random
import struct

import gguf
import numpy as np
import pytest
import torch

from mistralrs.api.errors import CheckpointError
from mistralrs.load.gguf import read_gguf, shards
from mistralrs.nn.checkpoint import Packed

DENSE = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]


def write(path, tensors, arch="llama", **values):
    writer = gguf.GGUFWriter(path, arch)
    for key, value in values.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
        add.get(type(value), writer.add_array)(key, value)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=["mapped", "read"])
def way(request, monkeypatch):
    monkeypatch.setenv("MISTRALRS_NO_MMAP", "1" if request.param == "read" else "0")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", TYPES)
def test_tensors(tmp_path, name):
    kind = gguf.GGMLQuantizationType[name]
    dense = DENSE if gguf.GGML_QUANT_SIZES[kind][0] < 256 else np.tile(DENSE, 4)
    raw = gguf.quants.quantize(dense, kind)
    path = write(tmp_path / "m.gguf", {"a.weight": (raw, kind), "b": (np.ones(3, np.int32), None)})
    file = read_gguf([path])
    lazy = file.tensors["a.weight"]
    assert lazy.shape == dense.shape
    expected = torch.from_numpy(gguf.quants.dequantize(raw, kind))
    assert torch.equal(lazy.load().float(), expected)
    assert file.tensors["b"].load().tolist() == [1, 1, 1]
    if isinstance(lazy, Packed):
        assert torch.equal(lazy.weight(torch.device("cpu")).dequantize(), expected)
        assert torch.equal(lazy[2:5].load(), expected[2:5])
        assert isinstance(lazy[2:5], Packed)
        assert torch.equal(Packed.stack([lazy, lazy]).load(), torch.stack([expected] * 2))
        assert torch.equal(lazy.narrow(1, 3, 8).load(), expected[:, 3:11])
        flipped = lazy.rows(lambda t: t.flip(0))
        assert isinstance(flipped, Packed)
        assert torch.equal(flipped.load(), expected.flip(0))
        mixed = Packed.cat([lazy, lazy.map(lambda t: t)])
        assert not isinstance(mixed, Packed)
        assert torch.equal(mixed.load(), torch.cat([expected, expected]))


def test_metadata(tmp_path):
    values = dict(
        flag=True, number=7, text="ü", words=["a", "", "你"], ints=[1, 2], floats=[0.5, 2.0]
    )
    file = read_gguf([write(tmp_path / "m.gguf", {"a": (DENSE, None)}, **values)])
    found = {k: list(v) if isinstance(v, np.ndarray) else v for k, v in file.metadata.items()}
    assert found == {"general.architecture": "llama", **values}


def test_shards(tmp_path):
    names = shards("m-00002-of-00003.gguf")
    assert names == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert shards("m.gguf") == ["m.gguf"]
    paths = []
    for i, name in enumerate(names):
        split = {"split.no": i, "split.count": 3, "split.tensors.count": 3}
        paths.append(write(tmp_path / name, {f"t{i}": (DENSE + i, None)}, **split))
    file = read_gguf(paths)
    assert {name: t.load()[0, 0].item() - DENSE[0, 0] for name, t in file.tensors.items()} == {
        "t0": pytest.approx(0),
        "t1": pytest.approx(1),
        "t2": pytest.approx(2),
    }
    for wrong, message in [
        (paths[:2], r"one of 3 files of a split model, but 2 were given"),
        ([paths[0], paths[2], paths[1]], "is part 2 of a split model where part 1 is expected"),
        ([paths[0], paths[1], paths[1]], "is part 1 .* where part 2 is expected"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            read_gguf(wrong)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def info(name="t", shape=(32, 2), kind=0, offset=0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def header(pairs=(), infos=(), version=3, counts=None) -> bytes:
    tensors, metadata = counts or (len(infos), len(pairs))
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + b"".join([*pairs, *infos])


def whole(infos, data: int, pairs=()) -> bytes:
    head = header(pairs, infos)
    return head + bytes(-len(head) % 32) + bytes(data)


HUGE = 1 << 62
ARRAY = struct.pack("<IQ", 4, HUGE)
NEST = struct.pack("<IQ", 9, 1)
BROKEN = {
    "empty": (b"", "is empty"),
    "three bytes": (b"GGU", "is not a GGUF file"),
    "bad magic": (b"GGML" + bytes(60), r"is not a GGUF file \(it begins with b'GGML'\)"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
    "version 1": (header(version=1), "version 1; readable are versions 2 and 3"),
    "big endian": (b"GGUF\0\0\0\3" + bytes(60), "big endian"),
    "only magic": (b"GGUF", "truncated"),
    "many tensors": (header(counts=(HUGE, 0)), r"promises .* tensors, more than fit"),
    "many pairs": (header(counts=(0, HUGE)), r"promises .* metadata entries, more than fit"),
    "fewer pairs": (header([pair("a", 4, bytes(4))], counts=(0, 2)) + bytes(9), "truncated"),
    "long key": (header([struct.pack("<Q", HUGE) + bytes(60)]), "promises .* characters"),
    "key twice": (header([pair("a", 4, bytes(4))] * 2), "'a' is too long or occurs twice"),
    "value type": (header([pair("a", 13, bytes(8))]), "metadata type 13 is unknown"),
    "long array": (header([pair("a", 9, ARRAY)]), "promises .* array elements"),
    "array type": (
        header([pair("a", 9, struct.pack("<IQ", 77, 1) + bytes(8))]),
        "type 77 is unknown",
    ),
    "deep array": (header([pair("a", 9, NEST * 9 + bytes(30))]), "type 9 is unknown"),
    "alignment": (header([pair("general.alignment", 4, bytes([24, 0, 0, 0]))]), "power of two"),
    "alignment text": (header([pair("general.alignment", 8, text("32"))]), "power of two"),
    "no dimensions": (header(infos=[info(shape=())]), "has 0 dimensions"),
    "five dimensions": (header(infos=[info(shape=(1,) * 5)]), "has 5 dimensions"),
    "zero dimension": (header(infos=[info(shape=(32, 0))]), "impossible shape"),
    "huge shape": (header(infos=[info(shape=(HUGE, HUGE))]), "impossible shape"),
    "no name": (header(infos=[info(name="")]), "has no name"),
    "type": (header(infos=[info(kind=4)]), "unknown type 4; readable are float32"),
    "row": (header(infos=[info(shape=(33, 1), kind=2)]), "33 values, Q4_0 needs a multiple of 32"),
    "unaligned": (header(infos=[info(offset=8)]), "begins at 8, not aligned"),
    "name twice": (header(infos=[info(), info(offset=256)]), "name occurs twice"),
    "truncated data": (whole([info()], 255), "ends 1 bytes behind the end of the file"),
    "far offset": (whole([info(offset=1 << 40)], 256), "behind the end of the file"),
    "overlap": (
        whole([info(), info("u", offset=128)], 512),
        "'u' of .* overlaps the one before it",
    ),
    "same place": (whole([info(), info("u")], 512), "overlaps the one before it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    data, message = BROKEN[case]
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as error:
        read_gguf([path])
    assert str(path) in str(error.value)


def test_every_prefix_and_many_mutations_fail_cleanly(tmp_path):
    """No truncation loads, and no flipped byte raises anything but a CheckpointError."""
    path = tmp_path / "m.gguf"
    q = gguf.quants.quantize(DENSE, gguf.GGMLQuantizationType.Q4_0)
    tensors = {"a": (DENSE, None), "q": (q, gguf.GGMLQuantizationType.Q4_0)}
    good = write(path, tensors, words=["x", "yz"], n=3, flag=True).read_bytes()
    generator = random.Random(0)
    for end in generator.sample(range(len(good) - 32), 60):
        path.write_bytes(good[:end])
        with pytest.raises(CheckpointError):
            read_gguf([path])
    for _ in range(400):
        data = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(400)] = generator.choice([0, 1, 127, 128, 255])
        path.write_bytes(data)
        try:
            file = read_gguf([path])
        except CheckpointError:
            continue
        for lazy in file.tensors.values():
            lazy.load()


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: .*No such file"):
        read_gguf([tmp_path / "none.gguf"])
