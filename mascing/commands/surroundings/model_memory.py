"""Whether a model's weights fit the memory of this machine's GPUs, or of the machine itself if it has none."""

from mascing.commands.surroundings.finding import Finding
from mascing.errors import MascingError
from mascing.models.checkpoints import local_folder
from mascing.models.model_folder import weights_bytes
from mascing.preflight.hardware import LARGEST_SHARE, gpus, memory, size_text
from mascing.prose import counted
from mascing.schemas.config import ModelConfig


def room_for(path: str) -> Finding:
    """Compare the weights at ``path``, a folder, a storage URL or a hub id, as stored, with the memory for them."""
    try:
        with local_folder(ModelConfig(path=path), weights=False) as folder:
            weights = weights_bytes(folder)
    except MascingError as error:
        return Finding("missing", "model", str(error))
    if weights is None:
        return Finding("note", "model", f"{path}: its files do not say how large it is; they are fetched by a run")
    sizes = sorted(size for _, size in gpus())
    told = f"{path}: {size_text(weights)} of weights"
    if not sizes:
        return _in_memory(told, weights)
    there = f"{counted(len(sizes), 'GPU')} of {size_text(sizes[0])}"
    if weights <= LARGEST_SHARE * sizes[0]:
        return Finding("ok", "model", f"{told} fit one of {there}")
    if weights <= LARGEST_SHARE * sum(sizes):
        needed = next(n for n in range(2, len(sizes) + 1) if weights <= LARGEST_SHARE * sum(sizes[:n]))
        return Finding(
            "note",
            "model",
            f"{told} fit {needed} of {there}, not one: set model.device to auto and compute.num_gpus to {needed}",
        )
    return Finding(
        "missing", "model", f"{told} do not fit {there}: set model.dtype to bfloat16 if it is stored wider, or add GPUs"
    )


def _in_memory(told: str, weights: int) -> Finding:
    _, free = memory()
    there = f"the {size_text(free)} of memory that are free, and there is no GPU"
    if weights <= LARGEST_SHARE * free:
        return Finding("ok", "model", f"{told} fit {there}; each worker holds a copy")
    return Finding("missing", "model", f"{told} do not fit {there}: free memory, or run it on a machine with GPUs")
