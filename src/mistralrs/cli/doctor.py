"""`mistralrs doctor`: what this machine offers, and what stands in the way."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from mistralrs import __version__

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "huggingface_hub", "jinja2", "click")
LOW_DISK = 10 * 2**30  # bytes; a small model with its download needs about this


@dataclass(frozen=True)
class Check:
    """One finding; `suggestion` says what to do about it."""

    name: str
    status: Literal["ok", "warn", "error"]
    message: str
    suggestion: str | None = None


def installed(package: str) -> str | None:
    """The version of an installed package."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def system() -> dict[str, Any]:
    """Interpreter, platform, processors, memory, and versions of the packages we use."""
    pages = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    )
    return {
        "mistralrs": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": pages or None,
        "packages": {name: installed(name) for name in PACKAGES},
    }


def devices() -> list[dict[str, Any]]:
    """The GPUs that torch can use: name, memory in bytes, compute capability."""
    import torch

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {"name": p.name, "memory_bytes": p.total_memory, "capability": f"{p.major}.{p.minor}"}
        for p in found
    ]


def cache_folder() -> Path:
    """The folder of downloaded models, or the parent in which it would be made."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    return next(path for path in (folder, *folder.parents) if path.exists())


def check_packages() -> Check:
    """Every package that we need is installed."""
    missing = [name for name in PACKAGES if installed(name) is None]
    if missing:
        names = " ".join(missing)
        return Check("packages", "error", f"missing: {names}", f"pip install {names}")
    return Check("packages", "ok", "all installed")


def check_device() -> Check:
    """A GPU where there is one, else the CPU."""
    names = [device["name"] for device in devices()]
    return Check("device", "ok", ", ".join(names) or "no CUDA device: models run on the CPU")


def check_kernels() -> Check:
    """Our compiled CPU kernels load."""
    from mistralrs import kernels

    found = kernels.describe()
    message = f"{found['cpu']} of {', '.join(found['available'])}; {found['threads']} threads"
    if found["available"] == ["reference"]:
        return Check("cpu_kernels", "warn", f"not built: {message}", "pip install . builds them")
    return Check("cpu_kernels", "ok", message)


def check_cache() -> Check:
    """Models can be downloaded into the cache."""
    folder = cache_folder()
    if os.access(folder, os.W_OK):
        return Check("hf_cache_writable", "ok", str(folder))
    advice = "set HF_HOME to a folder that you can write"
    return Check("hf_cache_writable", "error", f"{folder} cannot be written", advice)


def check_disk() -> Check:
    """There is room for a model."""
    folder = cache_folder()
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.1f} GiB free for {folder}"
    if free < LOW_DISK:
        return Check("disk_space", "warn", message, "free some, or set HF_HOME to a larger disk")
    return Check("disk_space", "ok", message)


CHECKS: tuple[Callable[[], Check], ...] = (
    check_packages,
    check_device,
    check_kernels,
    check_cache,
    check_disk,
)


def examine(check: Callable[[], Check]) -> Check:
    """Run a check; one that breaks is a finding too."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        return Check(name, "error", f"{type(error).__name__}: {error}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Show what this machine offers and what stands in the way.

    Exit code 1 when something does.
    """
    checks = [examine(check) for check in CHECKS]
    facts = system()
    if as_json:
        print(
            json.dumps({"system": facts, "checks": [asdict(check) for check in checks]}, indent=2)
        )
    else:
        show(facts, checks)
    if any(check.status == "error" for check in checks):
        sys.exit(1)


def show(facts: dict[str, Any], checks: list[Check]) -> None:
    """Print the findings as aligned lines."""
    memory = f"{(facts['memory_bytes'] or 0) / 2**30:.1f} GiB"
    print(f"mistralrs {facts['mistralrs']}, Python {facts['python']}, {facts['platform']}")
    print(f"{facts['cores']} cores ({facts['processor']}), {memory} memory")
    print(", ".join(f"{name} {number}" for name, number in facts["packages"].items()))
    for check in checks:
        print(f"{check.status:<6}{check.name:<18} {check.message}")
        if check.suggestion:
            print(f"{'':<25}{check.suggestion}")
