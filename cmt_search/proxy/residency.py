"""Whether images may stay in a device's memory, or are better fed to it batch by batch."""

import os
from pathlib import Path

import torch

_PART = {"cuda": 0.4, "cpu": 0.5}  # of the free memory; the rest is for networks and other trials
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may stay: at most 40% of a GPU's free memory, half of a machine's."""
    if device.type == "cuda":
        return size <= _PART["cuda"] * torch.cuda.mem_get_info(device)[0]
    return size <= _PART["cpu"] * available_memory()


def available_memory() -> int:
    """Bytes of main memory that a process may still take, caches of files counted as free."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    if _CGROUP_LIMIT.exists() and (limit := _CGROUP_LIMIT.read_text().strip()).isdigit():
        available = min(available, int(limit))
    return available
