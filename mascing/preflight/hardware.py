"""The memory and the GPUs of this machine, as a process in a container may use them."""

import sys
from glob import glob
from pathlib import Path

import psutil

_GIB = 2**30
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GPU_DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")
"""What Linux shows where there is a GPU: of NVIDIA, of AMD, and below Windows."""

LARGEST_SHARE = 0.8
"""Share of memory that weights may take before it is told: replies and gradients need the rest."""


def memory() -> tuple[int, int]:
    """Bytes of memory in total, and free."""
    there, limit = psutil.virtual_memory(), _container_limit()
    return min(there.total, limit), min(there.available, limit)


def gpus() -> list[tuple[str, int]]:
    """Name and bytes of memory of each GPU that torch can use."""
    if sys.platform == "linux" and not any(glob(pattern) for pattern in _GPU_DEVICES):
        return []  # spares the import of torch, which takes seconds
    import torch

    properties = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [(each.name, each.total_memory) for each in properties]


def size_text(n_bytes: int) -> str:
    """``n_bytes`` in GiB, or in MiB if it is little."""
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= _GIB / 10 else f"{n_bytes / 2**20:.1f} MiB"


def _container_limit() -> int:
    try:
        return int(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no container, or "max"
        return 2**63
