"""A folder with a tiny model and a mask of it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import ModelConfig
from tests.mascing import olmoe_folder


@dataclass(frozen=True)
class SteeredFolder:
    """The model and the mask, as files and as they are loaded."""

    model: Path
    mask: Path
    loaded: Loaded
    loaded_mask: Mask


def steered_folder(folder: Path) -> SteeredFolder:
    model = olmoe_folder.save(folder / "model", eos_token_id=2)
    loaded = load(ModelConfig(path=str(model)))
    bias_LE = torch.zeros(3, 8)
    bias_LE[:, :2] = 6.0
    mask = Mask.from_bias(bias_LE, inspect_routers(loaded.model))
    mask.save(str(folder / "mask.safetensors"))
    return SteeredFolder(model, folder / "mask.safetensors", loaded, mask)
