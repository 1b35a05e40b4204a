"""GGUF files: typed metadata and lazy tensors, with every count, length and offset checked before it is used.

Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mistralrs.api.errors import CheckpointError, ModelNotFoundError
from mistralrs.load.hub import Repo
from mistralrs.load.tensors import AGAIN, Bytes, open_bytes, stored
from mistralrs.nn.checkpoint import Lazy, Packed
from mistralrs.quant.ggml import KINDS, GgmlWeight

# Numbers, strings, booleans; arrays of numbers as numpy arrays, other arrays as lists.
Value = Any

PLAIN = {
    0: torch.float32,
    1: torch.float16,
    24: torch.int8,
    25: torch.int16,
    26: torch.int32,
    27: torch.int64,
    28: torch.float64,
    30: torch.bfloat16,
}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
LEAST = {BOOL: 1, STRING: 8, ARRAY: 12} | {code: struct.calcsize(f) for code, f in SCALARS.items()}

HEADER_LIMIT = (
    200_000_000  # bytes of metadata and tensor table; the largest known vocabulary takes 12 MB
)
NAME_LIMIT, DIMENSIONS, DEPTH = 65535, 4, 4


@dataclass(frozen=True)
class Gguf:
    """A model's files: metadata of the first, tensors of all."""

    path: Path
    metadata: dict[str, Value]
    tensors: dict[str, Lazy]

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.path.name


@dataclass(frozen=True)
class Entry:
    """A line of the tensor table; the shape is torch's, last dimension contiguous."""

    name: str
    shape: tuple[int, ...]
    code: int
    offset: int  # from the start of the data

    @property
    def nbytes(self) -> int:
        """Size of the data."""
        kind = KINDS.get(self.code)
        if kind is None:
            return prod(self.shape) * PLAIN[self.code].itemsize
        return prod(self.shape[:-1]) * kind.row_bytes(self.shape[-1])


def read_gguf(paths: Sequence[Path]) -> Gguf:
    """The tensors of one or several files; raises CheckpointError with the file and the cause."""
    parts = [_read(path) for path in paths]
    _check_split(parts)
    tensors: dict[str, Lazy] = {}
    for part in parts:
        for name, lazy in part.tensors.items():
            if name in tensors:
                raise CheckpointError(f"tensor '{name}' is in two of the files, {part.path} is one")
            tensors[name] = lazy
    return Gguf(parts[0].path, parts[0].metadata, tensors)


SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def shards(name: str) -> list[str]:
    """The names of all files of a split model, from any one of them; a single file is itself."""
    found = SHARD.fullmatch(name)
    if found is None:
        return [name]
    count = int(found[3])
    return [f"{found[1]}-{i:05}-of-{found[3]}.gguf" for i in range(1, count + 1)]


def gguf_names(repo: Repo, wanted: Sequence[str]) -> list[str]:
    """The files of a model to read, every part of a split one; ModelNotFoundError lists what is there."""
    names = list(dict.fromkeys(part for name in wanted for part in shards(name)))
    missing = [name for name in names if name not in repo.files]
    if not missing:
        return names
    found = [name for name in repo.files if name.endswith(".gguf")]
    raise ModelNotFoundError(
        f"'{repo.id}' has no file '{missing[0]}'; its GGUF files are: {', '.join(found) or 'none'}"
    )


def _check_split(parts: Sequence[Gguf]) -> None:
    """Raise CheckpointError unless the files are all the parts of one model, in order."""
    first = parts[0]
    count = first.metadata.get("split.count", 1) or 1
    if count != len(parts):
        raise CheckpointError(
            f"{first.path} is one of {count} files of a split model, but {len(parts)} were given: name "
            f"one file called like NAME-00001-of-{int(count):05}.gguf and keep all of them beside it"
        )
    for number, part in enumerate(parts):
        if part.metadata.get("split.no", 0) != number:
            raise CheckpointError(
                f"{part.path} is part {part.metadata.get('split.no')} of a split model where part "
                f"{number} is expected: give the files in order"
            )
    total, promised = sum(len(p.tensors) for p in parts), first.metadata.get("split.tensors.count")
    if promised is not None and promised != total:
        raise CheckpointError(
            f"{first.path} promises {promised} tensors, the files hold {total}: {AGAIN}"
        )


def _read(path: Path) -> Gguf:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(f"{path} is empty: {AGAIN}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                metadata, entries, start = _header(Cursor(view, path, min(size, HEADER_LIMIT)))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    _check_layout(path, entries, size - start)
    data = open_bytes(path)
    return Gguf(path, metadata, {e.name: _lazy(path, data, start, e) for e in entries})


def _lazy(path: Path, data: Bytes, start: int, entry: Entry) -> Lazy:
    offset, kind = start + entry.offset, KINDS.get(entry.code)
    if kind is None:
        return stored(path, data, offset, PLAIN[entry.code], entry.shape)
    shape = (*entry.shape[:-1], kind.row_bytes(entry.shape[-1]))
    raw = stored(path, data, offset, torch.uint8, shape)
    return Packed.over(raw, entry.shape[-1], partial(GgmlWeight, kind), kind.name)


# --- header ---------------------------------------------------------------------------------------


class Cursor:
    """Reads forwards through the beginning of a file and never past its end."""

    def __init__(self, view: mmap.mmap, path: Path, end: int):
        self.view, self.path, self.end, self.at = view, path, end, 0

    def fail(self, cause: str) -> CheckpointError:
        """The error for this file."""
        return CheckpointError(f"{self.path}: {cause} (at byte {self.at:,}): {AGAIN}")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.end - self.at:
            raise self.fail(f"it is truncated or damaged, {count:,} more bytes are expected")
        self.at += count
        return self.view[self.at - count : self.at]

    def number(self, format: str) -> Any:
        """The next number, in the notation of `struct`."""
        return struct.unpack("<" + format, self.take(struct.calcsize(format)))[0]

    def count(self, least: int, what: str) -> int:
        """A number of things of which each takes at least `least` bytes."""
        count = self.number("Q")
        if count * least > self.end - self.at:
            raise self.fail(f"it promises {count:,} {what}, more than fit into the file")
        return int(count)

    def string(self) -> str:
        """A string; what is not UTF-8 in it is replaced."""
        return self.take(self.count(1, "characters")).decode("utf-8", "replace")

    def strings(self, count: int) -> list[str]:
        """Many strings in one loop, since vocabularies have hundreds of thousands."""
        view, at, end, length, out = (
            self.view,
            self.at,
            self.end,
            struct.Struct("<Q").unpack_from,
            [],
        )
        for _ in range(count):
            size = length(view, at)[0] if at + 8 <= end else end
            if size > end - at - 8:
                raise self.fail("it is truncated or damaged within an array of strings")
            out.append(view[at + 8 : at + 8 + size].decode("utf-8", "replace"))
            at += 8 + size
        self.at = at
        return out

    def value(self, code: int, depth: int = 0) -> Value:
        """A metadata value of type `code`."""
        if code in SCALARS:
            return self.number(SCALARS[code])
        if code == BOOL:
            return self.number("B") != 0
        if code == STRING:
            return self.string()
        if code == ARRAY and depth < DEPTH:
            return self.array(depth)
        raise self.fail(f"metadata type {code} is unknown")

    def array(self, depth: int) -> Value:
        """A metadata array."""
        code = self.number("I")
        if code not in LEAST:
            raise self.fail(f"metadata type {code} is unknown")
        count = self.count(LEAST[code], "array elements")
        if code in SCALARS or code == BOOL:
            format = SCALARS.get(code, "?")
            return np.frombuffer(self.take(count * LEAST[code]), f"<{format}")
        if code == STRING:
            return self.strings(count)
        return [self.value(code, depth + 1) for _ in range(count)]


def _header(cursor: Cursor) -> tuple[dict[str, Value], list[Entry], int]:
    """Metadata, tensor table in file order, and where the data begins."""
    _check_version(cursor)
    tensors, pairs = cursor.count(24, "tensors"), cursor.count(13, "metadata entries")
    metadata: dict[str, Value] = {}
    for _ in range(pairs):
        key = cursor.string()
        if len(key) > NAME_LIMIT or key in metadata:
            raise cursor.fail(f"metadata key '{key[:80]}' is too long or occurs twice")
        metadata[key] = cursor.value(cursor.number("I"))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise cursor.fail(f"general.alignment is {alignment!r}, it must be a power of two")
    entries = [_entry(cursor) for _ in range(tensors)]
    names = {entry.name for entry in entries}
    if len(names) < len(entries):
        raise cursor.fail("a tensor name occurs twice")
    for entry in entries:
        if entry.offset % alignment:
            raise cursor.fail(f"tensor '{entry.name}' begins at {entry.offset}, not aligned")
    start = -(-cursor.at // alignment) * alignment
    return metadata, sorted(entries, key=lambda entry: entry.offset), start


def _check_version(cursor: Cursor) -> None:
    magic = cursor.take(min(4, cursor.end))
    if magic != b"GGUF":
        lfs = cursor.view[:40].startswith(b"version https://git-lfs")
        hint = "a Git LFS pointer; run `git lfs pull`" if lfs else f"it begins with {magic!r}"
        raise CheckpointError(f"{cursor.path} is not a GGUF file ({hint}): {AGAIN}")
    version = cursor.number("I")
    if version in (2, 3):
        return
    cause = f"version {version}"
    if version.to_bytes(4, "big")[0] in (1, 2, 3) and version > 0xFFFF:
        cause = "big endian"
    raise CheckpointError(
        f"{cursor.path} is GGUF of {cause}; readable are versions 2 and 3, little endian: use a newer "
        "conversion of the model"
    )


def _entry(cursor: Cursor) -> Entry:
    name = cursor.string()
    if not name or len(name) > NAME_LIMIT:
        raise cursor.fail("a tensor has no name, or one that is too long")
    rank = cursor.number("I")
    if not 1 <= rank <= DIMENSIONS:
        raise cursor.fail(f"tensor '{name}' has {rank} dimensions, not 1 to {DIMENSIONS}")
    shape = tuple(cursor.number("Q") for _ in range(rank))[::-1]
    code, offset = cursor.number("I"), cursor.number("Q")
    if min(shape) < 1 or prod(shape) >= 1 << 62:
        raise cursor.fail(f"tensor '{name}' has the impossible shape {list(shape)}")
    kind = KINDS.get(code)
    if kind is None and code not in PLAIN:
        raise CheckpointError(_unknown(cursor.path, name, code))
    if kind and shape[-1] % kind.block:
        raise cursor.fail(
            f"tensor '{name}' has rows of {shape[-1]} values, {kind.name} needs a multiple of {kind.block}"
        )
    return Entry(name, shape, code, offset)


def _unknown(path: Path, name: str, code: int) -> str:
    known = ", ".join(
        [
            *(str(d).removeprefix("torch.") for d in PLAIN.values()),
            *(k.name for k in KINDS.values()),
        ]
    )
    return f"tensor '{name}' of {path} has the unknown type {code}; readable are {known}"


def _check_layout(path: Path, entries: Iterable[Entry], room: int) -> None:
    """Raise CheckpointError unless the tensors, in file order, lie apart and inside the file."""
    end = 0
    for entry in entries:
        if entry.offset < end:
            raise CheckpointError(
                f"tensor '{entry.name}' of {path} overlaps the one before it (offset {entry.offset:,}, "
                f"not {end:,} or more): {AGAIN}"
            )
        end = entry.offset + entry.nbytes
        if end > room:
            raise CheckpointError(
                f"tensor '{entry.name}' of {path} ends {end - room:,} bytes behind the end of the file: "
                f"it is truncated, {AGAIN}"
            )
