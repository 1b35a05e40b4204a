"""How many threads a kernel call should use."""

import math
import os
import sys
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores() -> int:
    """Physical cores of this process: its affinity, capped by the quota of a container."""
    if hasattr(os, "sched_getaffinity"):
        cores = {siblings(cpu) for cpu in os.sched_getaffinity(0)}
        return max(1, min(len(cores), quota()))
    logical = os.cpu_count() or 1
    return logical if sys.platform == "darwin" else max(1, logical // 2)


def siblings(cpu: int) -> str:
    """The logical processors of a processor's core, as the kernel lists them."""
    try:
        return (CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def quota() -> int:
    """Whole processors that the control group (version 2) grants."""
    try:
        limit, period = QUOTA.read_text().split()
        return sys.maxsize if limit == "max" else math.ceil(int(limit) / int(period))
    except (OSError, ValueError):
        return sys.maxsize
