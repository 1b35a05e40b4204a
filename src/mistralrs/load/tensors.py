"""Weight files as lazy tensors: safetensors mapped without a copy, and harmless PyTorch pickles."""

from __future__ import annotations

import json
import mmap
import os
import pickle
import sys
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mistralrs.api.errors import CheckpointError
from mistralrs.nn.checkpoint import Lazy, Packed

AGAIN = "download the file again"


class Bytes(Protocol):
    """The bytes of a file as tensors."""

    def __call__(self, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """The tensor at an offset."""
        ...

    def drop(self, offset: int, size: int) -> None:
        """These bytes will not be read soon: a mapping need not keep them in memory."""
        ...


def read_checkpoint(paths: Iterable[Path]) -> dict[str, Lazy]:
    """All tensors of a model's files by name, in file order, so that loading reads forwards.

    Raises CheckpointError for a damaged file, a pickle with code in it, or a name in two files.
    """
    out: dict[str, Lazy] = {}
    home: dict[str, Path] = {}
    for path in map(Path, paths):
        tensors = read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
        for name, tensor in tensors.items():
            if name in out:
                raise CheckpointError(
                    f"tensor '{name}' is both in {home[name].name} and in {path.name}: "
                    "remove the file that does not belong to the model"
                )
            out[name], home[name] = tensor, path
    return out


def main_dtype(tensors: Mapping[str, Lazy]) -> torch.dtype | None:
    """The 16- or 32-bit float dtype of most bytes of a checkpoint, if any; float16 beside ggml's matrices."""
    if any(isinstance(t, Packed) and t.dtype is torch.float32 for t in tensors.values()):
        return torch.float16
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
    floats = {d: n for d, n in sizes.items() if d in (torch.bfloat16, torch.float16, torch.float32)}
    return max(floats, key=lambda d: floats[d], default=None)


# --- bytes ----------------------------------------------------------------------------------------


def open_bytes(path: Path) -> Bytes:
    """A file's bytes as tensors: views of one mapping, or copies when MISTRALRS_NO_MMAP=1."""
    return _Reader(path) if os.environ.get("MISTRALRS_NO_MMAP") == "1" else _Mapping(path)


def stored(
    path: Path, data: Bytes, offset: int, dtype: torch.dtype, shape: tuple[int, ...]
) -> Lazy:
    """A tensor of a file."""
    size = prod(shape) * dtype.itemsize
    return Lazy(
        shape,
        dtype,
        lambda: data(offset, dtype, shape),
        file=str(path),
        drop=lambda: data.drop(offset, size),
    )


class _Mapping:
    """Tensors that share one private mapping of the file and keep it alive."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self.view = _map(file.fileno())

    def __call__(self, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        count = prod(shape)
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        self._advise("MADV_WILLNEED", offset, count * dtype.itemsize)  # one read, not many faults
        if offset % dtype.itemsize == 0:
            flat = torch.frombuffer(self.view, dtype=dtype, count=count, offset=offset)
            return flat.view(shape)
        size = count * dtype.itemsize
        raw = torch.frombuffer(self.view, dtype=torch.uint8, count=size, offset=offset)
        return raw.clone().view(dtype).view(shape)  # an unaligned element has to move

    def drop(self, offset: int, size: int) -> None:
        """Nobody writes to the mapping, so what is used again comes back from the file."""
        self._advise("MADV_DONTNEED", offset, size)

    def _advise(self, advice: str, offset: int, size: int) -> None:
        if size and hasattr(mmap, advice):
            start = offset - offset % mmap.PAGESIZE
            self.view.madvise(getattr(mmap, advice), start, offset + size - start)


def _map(fileno: int) -> mmap.mmap:
    """Map a file privately: a stray write stays here, and nothing counts as committed memory."""
    if not sys.platform.startswith("linux"):
        return mmap.mmap(fileno, 0, access=mmap.ACCESS_COPY)
    noreserve = 0x4000  # MAP_NORESERVE, which Python's mmap does not name before 3.13
    return mmap.mmap(
        fileno, 0, flags=mmap.MAP_PRIVATE | noreserve, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )


class _Reader:
    """Tensors read into memory of their own."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        raw = torch.empty(prod(shape) * dtype.itemsize, dtype=torch.uint8)
        with open(self.path, "rb") as file:
            file.seek(offset)
            read = file.readinto(raw.numpy().data)
        if read != raw.numel():
            raise CheckpointError(f"{self.path} ended while it was read: {AGAIN}")
        return raw.view(dtype).view(shape)

    def drop(self, offset: int, size: int) -> None:
        """The file itself is not in memory."""


# --- safetensors ----------------------------------------------------------------------------------

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
HEADER_LIMIT = 100_000_000  # bytes, the limit of the safetensors format


def read_safetensors(path: Path) -> dict[str, Lazy]:
    """The tensors of one file in file order (format: github.com/huggingface/safetensors)."""
    header, start = _header(path)
    end = _check_layout(path, header)
    size = path.stat().st_size
    if size != start + end:
        raise CheckpointError(
            f"{path} has {size:,} bytes, its header promises {start + end:,}: "
            + (f"it is truncated, {AGAIN}" if size < start + end else AGAIN)
        )
    data = open_bytes(path)
    return {name: _lazy(path, data, start, entry) for name, entry in header.items()}


def _lazy(path: Path, data: Bytes, start: int, entry: Mapping[str, Any]) -> Lazy:
    offset = start + entry["data_offsets"][0]
    return stored(path, data, offset, DTYPES[entry["dtype"]], tuple(entry["shape"]))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """A file's table of tensors sorted by offset, and where its data begins."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= min(HEADER_LIMIT, size) else b""
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if size < 8 or length + 8 > size or length > HEADER_LIMIT or not text.startswith(b"{"):
        raise CheckpointError(_not_safetensors(path, size, length))
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise CheckpointError(f"the header of {path} is damaged ({error}): {AGAIN}") from error
    header.pop("__metadata__", None)
    for name, entry in header.items():
        _check_entry(path, name, entry)
    return dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"])), 8 + length


def _not_safetensors(path: Path, size: int, length: int) -> str:
    if size == 0:
        return f"{path} is empty: {AGAIN}"
    with open(path, "rb") as file:
        begin = file.read(40)
    if begin.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights: run `git lfs pull`, or {AGAIN}"
    if begin.startswith(b"GGUF"):
        return f"{path} is a GGUF file: load it with Which.GGUF"
    if length <= HEADER_LIMIT and begin[8:9] == b"{":
        return (
            f"{path} has {size:,} bytes, its header alone {8 + length:,}: it is truncated, {AGAIN}"
        )
    return f"{path} is not a safetensors file (it begins with {begin[:8]!r}): {AGAIN}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(n for n in names if names.count(n) > 1)}' occurs twice")
    return out


def _check_entry(path: Path, name: str, entry: Any) -> None:
    """Raise CheckpointError unless an entry has a known dtype, and a shape that fits its size."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the header of {path} is damaged at tensor '{name}': {AGAIN}"
        ) from error
    if dtype not in DTYPES:
        raise CheckpointError(
            f"tensor '{name}' of {path} has dtype {dtype}; readable are {', '.join(DTYPES)}"
        )
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise CheckpointError(f"the header of {path} is damaged at tensor '{name}': {AGAIN}")
    expected = prod(shape) * DTYPES[dtype].itemsize
    if end - begin != expected:
        raise CheckpointError(
            f"tensor '{name}' of {path} has {end - begin:,} bytes, its shape {shape} of {dtype} "
            f"needs {expected:,}: {AGAIN}"
        )


def _check_layout(path: Path, header: Mapping[str, Any]) -> int:
    """The size of the data, after checking that tensors neither overlap nor leave holes."""
    position = 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if begin != position:
            fault = "overlaps the one before it" if begin < position else "leaves a hole before it"
            raise CheckpointError(
                f"tensor '{name}' of {path} {fault} (offset {begin}, not {position}): {AGAIN}"
            )
        position = end
    return position


# --- pickles --------------------------------------------------------------------------------------


def read_pickle(path: Path) -> dict[str, Lazy]:
    """The tensors of a PyTorch file (.bin, .pt, .pth), through the loader that runs no code."""
    try:
        loaded = _unpickle(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or a pickle that runs code when opened, which is refused: use "
            "a repository with safetensors files, or convert it "
            f"({str(error).partition(chr(10))[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} ({_size(path)}) cannot be read as a PyTorch file: {AGAIN} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {name: Lazy.of(t, str(path)) for name, t in state.items() if isinstance(t, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors by name: it is not a model's weight file")
    return tensors


def _unpickle(path: Path) -> Any:
    with open(path, "rb") as file:
        mapped = file.read(2) == b"PK" and os.environ.get("MISTRALRS_NO_MMAP") != "1"
    # Files from before PyTorch 1.6 are no zip archives and cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes" if path.exists() else "missing"
