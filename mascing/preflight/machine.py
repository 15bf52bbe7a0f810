"""Whether this machine has the processors, the GPUs and the memory that a run asks for."""

import os
import sys
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import psutil

from mascing.errors import ConfigError
from mascing.reachability import answers
from mascing.schemas.config import ModelConfig, RunConfig

_GIB = 2**30
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GPU_DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")
"""What Linux shows where there is a GPU: of NVIDIA, of AMD, and below Windows."""
_SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")
_LARGEST_SHARE = 0.8
"""Share of the free memory that the weights may take before it is told: replies and gradients take more."""


@dataclass(frozen=True)
class Machine:
    """What a run asks for and what is there, in words, with what is wrong with it."""

    wanted: str
    there: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def machine_for(config: RunConfig, weights: int | None) -> Machine:
    """Compare what ``config`` asks for with this machine; ``weights`` are the bytes of one loaded model, if known."""
    wanted = _wanted(config, weights)
    if address := os.environ.get("RAY_ADDRESS"):
        return Machine(wanted, f"the workers run on the Ray cluster at {address}, which is not looked at here")
    memory = psutil.virtual_memory()
    total, free = min(memory.total, _container_limit()), min(memory.available, _container_limit())
    there = f"{os.cpu_count()} CPUs, {_size(free)} of {_size(total)} memory free"
    if config.compute.num_gpus or config.model.device not in ("cpu", *_SPREAD):
        return _with_gpus(config, weights, wanted, there)
    needed = config.compute.workers * (weights or 0)
    told = (
        f"the weights take {_size(weights or 0)} in each of {_workers(config)}, and this machine has {_size(total)} of "
        f"memory, {_size(free)} of them free: lower compute.workers, set model.dtype to bfloat16, or take a larger "
        "machine"
    )
    if needed > total:
        return Machine(wanted, there, problems=(told,))
    return Machine(wanted, there, notes=(told,) if needed > _LARGEST_SHARE * free else ())


def refuse_silent_services() -> None:
    """Raise ConfigError if nothing answers where the environment says that Prefect's server or a Ray cluster is."""
    for variable, start in (("PREFECT_API_URL", "`prefect server start`"), ("RAY_ADDRESS", "`ray start --head`")):
        address = os.environ.get(variable)
        if address and not answers(address):
            shown = address.rpartition("@")[2]  # without a password
            raise ConfigError(f"nothing answers at {variable} {shown}: start it ({start}), correct or unset {variable}")


def _with_gpus(config: RunConfig, weights: int | None, wanted: str, there: str) -> Machine:
    gpus = _gpus()
    memory = min((gpu.total_memory for gpu in gpus), default=0)
    there += f"; {len(gpus)} x {gpus[0].name} with {_size(memory)}" if gpus else "; no GPU that torch can use"
    needed = config.compute.workers * config.compute.num_gpus
    problems = []
    if needed > len(gpus):
        problems.append(
            f"compute asks for {needed:g} GPUs ({_workers(config)} x {config.compute.num_gpus:g}) and "
            f"this machine has {len(gpus)}: lower compute.workers or compute.num_gpus, set model.device to cpu, or "
            "name a Ray cluster in RAY_ADDRESS"
        )
    room = memory * _gpus_of_a_model(config.model, config.compute.num_gpus)
    if gpus and weights is not None and weights > room:
        problems.append(
            f"the weights take {_size(weights)} and the GPUs of a worker have {_size(round(room))} for them: set "
            "model.dtype to bfloat16, or model.device to auto and compute.num_gpus to more GPUs"
        )
    return Machine(wanted, there, problems=tuple(problems))


def _gpus() -> list[Any]:
    """The properties of the GPUs that torch can use."""
    if sys.platform == "linux" and not any(glob(pattern) for pattern in _GPU_DEVICES):
        return []  # spares the import of torch, which takes seconds
    import torch

    return [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]


def _gpus_of_a_model(model: ModelConfig, num_gpus: float) -> float:
    """How many GPUs hold one model: all of the worker's if it is spread, else one or its share of one."""
    return num_gpus if model.device in _SPREAD else min(1.0, num_gpus)


def _wanted(config: RunConfig, weights: int | None) -> str:
    compute = config.compute
    gpus = f", {compute.num_gpus:g} GPUs" if compute.num_gpus else ""
    memory = f"{_size(weights)} of weights" if weights is not None else "weights of a size that is not known here"
    cpus = f"{compute.num_cpus:g} CPU{'' if compute.num_cpus == 1 else 's'}"
    return f"{_workers(config)}, each {cpus}{gpus} and {memory} on {config.model.device}"


def _workers(config: RunConfig) -> str:
    return f"{config.compute.workers} worker{'' if config.compute.workers == 1 else 's'}"


def _container_limit() -> int:
    try:
        return int(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no container, or "max"
        return 2**63


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= _GIB / 10 else f"{n_bytes / 2**20:.1f} MiB"
