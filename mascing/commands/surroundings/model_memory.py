"""Whether a model's weights fit the memory of this machine's GPUs, or of the machine itself if it has none."""

import psutil

from mascing.commands.surroundings.finding import Finding
from mascing.errors import MascingError
from mascing.models.checkpoints import local_folder
from mascing.models.model_folder import weights_bytes
from mascing.schemas.config import ModelConfig

_GIB = 2**30
_LARGEST_SHARE = 0.8
"""Share of the memory that weights may take: replies and gradients need the rest."""


def room_for(path: str) -> Finding:
    """Compare the weights at ``path``, a folder, a storage URL or a hub id, as stored, with the memory for them."""
    try:
        with local_folder(ModelConfig(path=path), weights=False) as folder:
            weights = weights_bytes(folder)
    except MascingError as error:
        return Finding("missing", "model", str(error))
    if weights is None:
        return Finding("note", "model", f"{path}: its files do not say how large it is; they are fetched by a run")
    gpus = _gpu_memory()
    size = f"{path}: {_size(weights)} of weights"
    if not gpus:
        return _in_memory(size, weights)
    there = f"{len(gpus)} GPUs of {_size(min(gpus))}"
    if weights <= _LARGEST_SHARE * min(gpus):
        return Finding("ok", "model", f"{size} fit one of {there}")
    if weights <= _LARGEST_SHARE * sum(gpus):
        needed = next(n for n in range(2, len(gpus) + 1) if weights <= _LARGEST_SHARE * sum(sorted(gpus)[:n]))
        return Finding(
            "note",
            "model",
            f"{size} fit {needed} of {there}, not one: set model.device to auto and compute.num_gpus to {needed}",
        )
    return Finding(
        "missing", "model", f"{size} do not fit {there}: set model.dtype to bfloat16 if it is stored wider, or add GPUs"
    )


def _in_memory(size: str, weights: int) -> Finding:
    free = psutil.virtual_memory().available
    there = f"the {_size(free)} of memory that are free, and there is no GPU"
    if weights <= _LARGEST_SHARE * free:
        return Finding("ok", "model", f"{size} fit {there}; each worker holds a copy")
    return Finding("missing", "model", f"{size} do not fit {there}: free memory, or run it on a machine with GPUs")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= _GIB / 10 else f"{n_bytes / 2**20:.1f} MiB"


def _gpu_memory() -> list[int]:
    """Bytes of each GPU that torch can use."""
    import torch

    return [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
