"""What vLLM is known not to load, told by a model's files before it starts: it takes a minute to find out itself."""

from pathlib import Path
from typing import Any

from mascing.models.model_folder import head_size_in, tensors_in
from mascing.schemas.settings.engine_settings import RunEngine

_WEIGHTS = "model.safetensors"

CPU_HEADS = (32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""The sizes of which vLLM 0.31 and 0.32 have kernels, which were asked for each; their own lists in Python lack 48."""


def why_unloadable(folder: Path, settings: dict[str, Any], on_cpu: bool) -> str | None:
    """Why vLLM cannot load the model with these settings, as far as is known; ``folder`` may lack the weights.

    Raises ModelError if the header of the weights cannot be read.
    """
    if not settings.get("architectures"):
        return "its config.json names no `architectures`, by which vLLM chooses its class"
    size = head_size_in(settings)
    if on_cpu and size is not None and size not in CPU_HEADS:
        return f"its attention heads have size {size}, and on a CPU vLLM computes those of {_listed(CPU_HEADS)}"
    return _strange_weights(folder)


def why_unloadable_by(engine: RunEngine, num_gpus: float, folder: Path, settings: dict[str, Any]) -> str | None:
    """The same for workers with ``num_gpus``; None for the engine `transformers`."""
    return why_unloadable(folder, settings, on_cpu=not num_gpus) if engine.kind == "vllm" else None


def _strange_weights(folder: Path) -> str | None:
    """vLLM reads every file of weights in the folder, unless an index names those of the model."""
    if not (folder / _WEIGHTS).exists() or (folder / f"{_WEIGHTS}.index.json").exists():
        return None
    known = tensors_in(folder / _WEIGHTS).keys()
    for file in sorted(folder.glob("*.safetensors")):
        if strange := sorted(tensors_in(file).keys() - known):
            return (
                f"vLLM reads every .safetensors file of the folder as weights, and {file.name} holds {strange[0]!r}, "
                f"which is not in {_WEIGHTS} (move that file elsewhere)"
            )
    return None


def _listed(sizes: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]} alone"
