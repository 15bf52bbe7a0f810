"""A machine with GPUs and memory that the one of the tests need not have: what torch, psutil and Linux say of it."""

from collections.abc import Sequence
from types import SimpleNamespace

import psutil
import pytest
import torch

from mascing.preflight import hardware

GIB = 2**30


def made_machine(monkeypatch: pytest.MonkeyPatch, gpus: Sequence[int], memory: int) -> None:
    """Let this machine have ``memory`` GiB, all free, and a GPU for each of ``gpus``, its GiB of memory."""
    properties = [SimpleNamespace(name="GPU", total_memory=size * GIB) for size in gpus]
    devices = [f"/dev/nvidia{number}" for number in range(len(gpus))]
    monkeypatch.setattr(hardware, "glob", lambda pattern: devices if "nvidia" in pattern else [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(properties))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties[number])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=memory * GIB, available=memory * GIB))
