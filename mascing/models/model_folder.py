"""What the files of a model folder say before they are loaded: its settings, and whether and how large weights are."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mascing.errors import ModelError
from mascing.models.checkpoints import one_line

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""How safetensors writes the types that `dtype` changes; quantised weights stay as they are."""


def settings_of(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Refuses an adapter: transformers would load the base model that it names instead."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} is an adapter: merge it into its base model first (peft's merge_and_unload), save the result "
            "with its tokenizer, and give that folder"
        )
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is not a model folder: it has no config.json; give the folder that "
            "transformers' save_pretrained or the hub made"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read ({one_line(error)}): copy it again") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise ModelError(f"{folder / 'config.json'} has no model_type: it is not a transformers checkpoint")
    return settings


def refuse_without_weights(folder: Path) -> None:
    """Raise ModelError unless all weights that the folder's index names are there, as safetensors."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} cannot be read ({one_line(error)}): copy it again") from error
    else:
        names = {"model.safetensors"}
    missing = sorted(name for name in names if not (folder / name).exists())
    if missing and list(folder.glob("*.bin")):
        raise ModelError(f"{folder} has only .bin weights, which run code on load: convert to safetensors")
    if missing:
        raise ModelError(
            f"{folder} lacks weights: {missing[0]}"
            + f" and {len(missing) - 1} more" * (len(missing) > 1)
            + ": copy the files of the model again"
        )


def refuse_unloadable_fp8(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ModelError for an FP8 checkpoint that the installed transformers cannot load."""
    is_fp8 = (settings.get("quantization_config") or {}).get("quant_method") == "fp8"
    if is_fp8 and version("transformers").startswith("5.16."):
        raise ModelError(f"{folder} is quantised to FP8, which transformers 5.16 cannot load: install 5.17 or newer")


def context_in(settings: dict[str, Any]) -> int | None:
    """The number of tokens that the model can read by its config.json, or None if it does not say."""
    return _of_text(settings, "max_position_embeddings")


def vocabulary_in(settings: dict[str, Any]) -> int | None:
    """The number of tokens that the model tells apart by its config.json, or None if it does not say."""
    return _of_text(settings, "vocab_size")


def head_size_in(settings: dict[str, Any]) -> int | None:
    """The numbers that an attention head keeps of a token by its config.json, or None if it does not say.

    Latent attention keeps none by head.
    """
    if _of_text(settings, "kv_lora_rank") is not None:
        return None
    heads, width = _of_text(settings, "num_attention_heads"), _of_text(settings, "hidden_size")
    return _of_text(settings, "head_dim") or (width // heads if heads and width else None)


def _of_text(settings: dict[str, Any], name: str) -> int | None:
    inner = settings.get("text_config")
    found = (inner if isinstance(inner, dict) else settings).get(name)
    return found if isinstance(found, int) else None


def refuse_dense(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ModelError if no setting speaks of experts: there is no router to steer."""
    if "expert" not in json.dumps(settings).lower():
        raise ModelError(
            f"{folder} is no mixture of experts: its config.json (type {settings['model_type']!r}) has no setting for "
            "experts, so there are no routers to steer; give a MoE model"
        )


def dtype_in(folder: Path, settings: dict[str, Any]) -> str:
    """The dtype that `auto` means, as transformers reads it: what the config.json names, else that of the weights.

    Raises ModelError if the headers of the weights cannot be read.
    """
    inner = settings.get("text_config")
    for each in (settings, inner if isinstance(inner, dict) else {}):
        if named := each.get("dtype") or each.get("torch_dtype"):
            return str(named)
    tensors = (tensor for file in sorted(folder.glob("*.safetensors")) for tensor in tensors_in(file).values())
    stored = (_STORED[tensor["dtype"]] for tensor in tensors if tensor.get("dtype") in _STORED)
    return next(stored, "float32")


def weights_bytes(folder: Path, dtype: str = "auto") -> int | None:
    """The memory that the weights take as ``dtype``, by their files' headers; None if the files are not here."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(_bytes_as(file, dtype) for file in files) if files else _size_in_index(folder)


def _bytes_as(file: Path, dtype: str) -> int:
    total = 0
    for tensor in tensors_in(file).values():
        start, end = tensor["data_offsets"]
        stored = _STORED.get(tensor["dtype"])
        factor = _BYTES[dtype] / _BYTES[stored] if dtype in _BYTES and stored is not None else 1
        total += round((end - start) * factor)
    return total


def tensors_in(file: Path) -> dict[str, dict[str, Any]]:
    """What the header of a safetensors file says of its tensors, by name. Raises ModelError if it is not whole."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("its header is cut off")
            header = json.loads(opened.read(length))
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        ends = (tensor["data_offsets"][1] for tensor in tensors.values())
        if 8 + length + max(ends, default=0) > file.stat().st_size:
            raise ValueError("its tensors are cut off")
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not a whole safetensors file ({one_line(error)}): copy it again") from error
    return tensors


def _size_in_index(folder: Path) -> int | None:
    """The size that the index of a checkpoint on the hub states: its weights are fetched when they are loaded."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return int(index["metadata"]["total_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
