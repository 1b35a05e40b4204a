"""What this machine offers, and what stands in the way: for `mistralrs doctor` and for the server."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

PACKAGES = (
    "torch", "numpy", "pillow", "tokenizers", "llguidance", "safetensors", "huggingface_hub", "jinja2",
    "click", "rich", "psutil",
)  # fmt: skip
EXTRAS = {  # of pyproject.toml: what each is for, and its packages
    "server": ("mistralrs serve", ("fastapi", "uvicorn", "prometheus-client")),
    "mcp": ("tools of MCP servers", ("mcp", "websockets")),
    "verify": ("mistralrs verify", ("transformers",)),
}
FLAGS = (
    "avx2", "f16c", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "asimd",
    "bf16", "i8mm", "sve",
)  # fmt: skip
LOW_DISK = 10 * 2**30  # bytes; a small model with its download needs about this
LOW_MEMORY = 2 * 2**30


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


def processor() -> tuple[str, list[str]]:
    """The processor's name and those of its instruction sets that kernels can use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return facts.get("model name", platform.machine()), [flag for flag in FLAGS if flag in flags]


def system(version: str) -> dict[str, Any]:
    """Our version, interpreter, platform, processors, memory, threads, devices, versions of packages, folders."""
    import psutil

    name, flags = processor()
    extras = {extra: {p: installed(p) for p in packages} for extra, (_, packages) in EXTRAS.items()}
    return {
        "mistralrs": version,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": name,
        "architecture": platform.machine(),
        "instructions": flags,
        "logical_cores": os.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "available_bytes": psutil.virtual_memory().available,
        "kernels": kernels() if installed("torch") else None,
        "devices": devices() if installed("torch") else [],
        "packages": {name: installed(name) for name in PACKAGES},
        "extras": extras,
        "cache_folder": str(cache_folder()),
    }


def kernels() -> dict[str, Any]:
    """Which of our kernels run on the CPU, which could, and with how many threads."""
    from mistralrs.kernels.native import describe

    return describe()


def devices() -> list[dict[str, Any]]:
    """The GPUs that torch can use: name, memory in bytes, compute capability."""
    import torch

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {"name": p.name, "memory_bytes": p.total_memory, "capability": f"{p.major}.{p.minor}"}
        for p in found
    ]


def cache_folder() -> Path:
    """The folder of downloaded models."""
    from mistralrs.load.download import cache_directory

    return cache_directory()


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_packages() -> Check:
    """Every package that we need is installed."""
    missing = [name for name in PACKAGES if installed(name) is None]
    if missing:
        names = " ".join(missing)
        return Check("packages", "error", f"missing: {names}", f"pip install {names}")
    return Check("packages", "ok", "all installed")


def check_extras() -> Check:
    """What the optional packages would add."""
    lacking = {
        extra: what
        for extra, (what, packages) in EXTRAS.items()
        if not all(map(installed, packages))
    }
    if lacking:
        return Check(
            "extras",
            "warn",
            "not available: " + ", ".join(lacking.values()),
            f"pip install 'mistralrs[{','.join(lacking)}]'",
        )
    return Check("extras", "ok", f"{', '.join(EXTRAS)} installed")


def check_device() -> Check:
    """A GPU where there is one, else the CPU."""
    names = [device["name"] for device in devices()]
    return Check("device", "ok", ", ".join(names) or "no CUDA device: models run on the CPU")


def check_kernels() -> Check:
    """Our compiled CPU kernels load."""
    found = kernels()
    message = f"{found['cpu']} of {', '.join(found['available'])}; {found['threads']} threads"
    if found["available"] == ["reference"]:
        return Check("cpu_kernels", "warn", f"not built: {message}", "pip install . builds them")
    return Check("cpu_kernels", "ok", message)


def check_instructions() -> Check:
    """The processor has the vector instructions that the quick kernels are written for."""
    name, flags = processor()
    if not flags or {"avx2", "asimd"} & set(flags):
        return Check("cpu_extensions", "ok", f"{name}: {', '.join(flags) or 'flags unknown'}")
    advice = "models run, but slowly: use a processor of the last ten years"
    return Check("cpu_extensions", "warn", f"{name} has no AVX2", advice)


def check_memory() -> Check:
    """There is memory for a small model."""
    import torch

    from mistralrs.load.plan import memory

    total, available = memory(torch.device("cpu"))
    message = f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB available"
    if available < LOW_MEMORY:
        return Check(
            "memory", "warn", message, "close other programs; `mistralrs tune` names what fits"
        )
    return Check("memory", "ok", message)


def check_cache() -> Check:
    """Models can be downloaded into the cache."""
    folder = cache_folder()
    if os.access(existing(folder), os.W_OK):
        return Check("hf_cache_writable", "ok", str(folder))
    advice = "set HF_HOME to a folder that you can write"
    return Check("hf_cache_writable", "error", f"{folder} cannot be written", advice)


def check_token() -> Check:
    """A token for gated models is stored."""
    from mistralrs.load.download import read_token

    if read_token("cache"):
        return Check("hf_token", "ok", "stored")
    return Check("hf_token", "ok", "none; gated models need one: mistralrs login")


def check_disk() -> Check:
    """There is room for a model."""
    folder = existing(cache_folder())
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.1f} GiB free for {folder}"
    if free < LOW_DISK:
        return Check("disk_space", "warn", message, "free some, or set HF_HOME to a larger disk")
    return Check("disk_space", "ok", message)


CHECKS: tuple[Callable[[], Check], ...] = (
    check_packages,
    check_extras,
    check_device,
    check_instructions,
    check_kernels,
    check_memory,
    check_cache,
    check_token,
    check_disk,
)


def examine(check: Callable[[], Check]) -> Check:
    """Run a check; one that breaks is a finding too."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        return Check(name, "error", f"{type(error).__name__}: {error}")


def diagnose(version: str) -> dict[str, Any]:
    """The system, and the findings of every check."""
    return {"system": system(version), "checks": [asdict(examine(check)) for check in CHECKS]}
