"""The compiled CPU kernels: found at import, and forced to another choice by `use`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mistralrs.kernels.cores import physical_cores

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # enum Type of cpu/table.h


def load() -> ModuleType | None:
    """The extension module with its threads set, or None and a warning where it is not built."""
    try:
        _cpu = import_module("mistralrs.kernels._cpu")
    except ImportError as error:
        logging.getLogger("mistralrs").warning(
            "no compiled CPU kernels (%s), so slower torch code is used: `pip install .` builds them",
            error,
        )
        return None
    _cpu.set_threads(physical_cores())
    return _cpu


compiled: ModuleType | None = load()
ops: Any = compiled  # None while `use("reference")` is in force


def first(backends: tuple[Callable[..., Tensor | None], ...], *arguments: Any) -> Tensor:
    """The result of the first backend that does not decline; the last is the reference."""
    for backend in backends:
        result = backend(*arguments)
        if result is not None:
            return result
    raise AssertionError(f"{backends[-1]} declined")


def address(x: Tensor | None) -> int:
    """Where the data of an optional tensor is, 0 for None."""
    return 0 if x is None else x.data_ptr()


def ready(x: Tensor) -> bool:
    """True where the compiled kernels take `x`: float32 on a CPU."""
    return ops is not None and x.is_cpu and x.dtype is torch.float32


def rows(x: Tensor) -> tuple[Tensor, int, int, int]:
    """x [..., D] as [rows, heads, D]: the tensor, its heads, the strides of rows and of heads.

    Slices of a fused projection ([T, H, D] or [T, D] with dense features) are read in place.
    """
    if not x.is_contiguous():
        if x.dim() == 3 and x.stride(2) == 1:
            return x, x.shape[1], x.stride(0), x.stride(1)
        if x.dim() == 2 and x.stride(1) == 1:
            return x, 1, x.stride(0), 0
    return x.contiguous(), 1, x.shape[-1], 0


def available() -> list[str]:
    """What `use` accepts on this machine, best first."""
    return [*(compiled.names() if compiled else []), "reference"]


@contextmanager
def use(name: str | None = None, threads: int | None = None) -> Iterator[None]:
    """Force an instruction set, or "reference", and a number of threads in the whole process."""
    global ops
    name = name or available()[0]
    if name not in available():
        raise ValueError(f"{name!r} is not available here; choose one of {available()}")
    before = ops, compiled and (compiled.active(), compiled.threads())
    try:
        if compiled and name != "reference":
            compiled.use(name)
        ops = None if name == "reference" else compiled
        if compiled and threads:
            compiled.set_threads(threads)
        yield
    finally:
        ops, native = before
        if compiled and native:
            compiled.use(native[0])
            compiled.set_threads(native[1])


def describe() -> dict[str, Any]:
    """The chosen instruction set, the ones that could be chosen, and the number of threads."""
    return {
        "cpu": compiled.active() if compiled and ops else "reference",
        "available": available(),
        "threads": compiled.threads() if compiled else torch.get_num_threads(),
    }
