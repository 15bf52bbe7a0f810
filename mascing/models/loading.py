"""Load a model with its tokenizer from a folder, a storage URL or the hub."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from mascing.errors import ModelError
from mascing.models import deepseek_v1
from mascing.models.chat_template import configured_template
from mascing.models.checkpoints import checkpoint_fingerprint, local_folder, one_line
from mascing.schemas.config import ModelConfig

__all__ = ["Loaded", "checkpoint_fingerprint", "load", "load_model", "load_tokenizer"]

# Values of `device` that spread the layers over all devices.
SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class Loaded:
    """A causal language model in evaluation mode, and its tokenizer.

    The tokenizer has one chat template, in which the options of the configuration are set.
    """

    model: Any
    tokenizer: Any


def load(config: ModelConfig) -> Loaded:
    """Load a checkpoint with its native transformers class, or with its own code if the config trusts that.

    ``device`` is a torch device, or ``auto`` to spread the layers over all devices (also ``balanced``,
    ``balanced_low_0``, ``sequential``). A quantised checkpoint loads as transformers loads it on that device. Raises a
    ModelError that says what is wrong with the folder, the hub id or the device, and ConfigError for an option that the
    chat template does not read.
    """
    _refuse_absent_device(config.device)
    with local_folder(config) as folder:
        settings = _checked_settings(folder)
        tokenizer = _tokenizer(folder, config)
        return Loaded(_model(folder, settings, config), tokenizer)


def load_model(config: ModelConfig) -> Any:
    """Load the model alone, as :func:`load` does and with its errors; the folder needs no tokenizer."""
    _refuse_absent_device(config.device)
    with local_folder(config) as folder:
        return _model(folder, _checked_settings(folder), config)


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer alone, as :func:`load` does and with its errors; no weights are read or fetched."""
    with local_folder(config, weights=False) as folder:
        _settings(folder)
        return _tokenizer(folder, config)


def context_length(config: ModelConfig) -> int | None:
    """The number of tokens that the model can read, or None if its config does not say."""
    from transformers import AutoConfig

    with local_folder(config, weights=False) as folder:
        try:
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
        except _load_errors():
            return None  # loading the model explains it
    return getattr(settings.get_text_config(), "max_position_embeddings", None)


def _checked_settings(folder: Path) -> dict[str, Any]:
    settings = _settings(folder)
    _refuse_without_weights(folder)
    _refuse_unloadable_fp8(folder, settings)
    return settings


def _settings(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Refuses an adapter: transformers would load the base model that it names instead."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} is an adapter: merge it into its base model first (peft's merge_and_unload), save the result "
            "with its tokenizer, and give that folder"
        )
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a model folder: it has no config.json") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {one_line(error)}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise ModelError(f"{folder / 'config.json'} has no model_type: it is not a transformers checkpoint")
    return settings


def _refuse_without_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} cannot be read: {one_line(error)}") from error
    else:
        names = {"model.safetensors"}
    missing = sorted(name for name in names if not (folder / name).exists())
    if missing and list(folder.glob("*.bin")):
        raise ModelError(f"{folder} has only .bin weights, which run code on load: convert to safetensors")
    if missing:
        raise ModelError(f"{folder} lacks weights: {missing[0]}" + f" and {len(missing) - 1} more" * (len(missing) > 1))


def _refuse_unloadable_fp8(folder: Path, settings: dict[str, Any]) -> None:
    is_fp8 = (settings.get("quantization_config") or {}).get("quant_method") == "fp8"
    if is_fp8 and version("transformers").startswith("5.16."):
        raise ModelError(f"{folder} is quantised to FP8, which transformers 5.16 cannot load: install 5.17 or newer")


def _tokenizer(folder: Path, config: ModelConfig) -> Any:
    from transformers import AutoTokenizer

    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise ModelError(f"{folder} has no tokenizer: copy tokenizer.json and tokenizer_config.json of the model there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except _load_errors() as error:
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {one_line(error)}") from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in {folder} has no chat template: take the instruction-tuned model, or add "
            "chat_template.jinja to the folder"
        )
    tokenizer.chat_template = configured_template(tokenizer, config.chat_template)
    return tokenizer


def _model(folder: Path, settings: dict[str, Any], config: ModelConfig) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": config.dtype if config.dtype == "auto" else getattr(torch, config.dtype),
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if config.attn_implementation is not None:
        options["attn_implementation"] = config.attn_implementation
    if config.device != "cpu":
        options["device_map"] = config.device
    is_deepseek_v1 = settings["model_type"] == deepseek_v1.MODEL_TYPE
    try:
        if is_deepseek_v1:
            options |= {"config": deepseek_v1.native_config(settings), "key_mapping": deepseek_v1.KEY_MAPPING}
        else:
            options["trust_remote_code"] = _runs_own_code(folder, settings, config)
        model, report = cast(tuple[Any, Any], AutoModelForCausalLM.from_pretrained(folder, **options))
        missing = [key for key in report["missing_keys"] if not (is_deepseek_v1 and key.endswith(deepseek_v1.ADDED))]
        _refuse_absent_weights(folder, [*missing, *(entry[0] for entry in report["mismatched_keys"])])
        if is_deepseek_v1:
            deepseek_v1.restore_shared_experts(model)
        return model
    except _load_errors() as error:
        raise ModelError(f"the model in {folder} cannot be loaded: {one_line(error)}") from error


def _refuse_absent_weights(folder: Path, names: Sequence[str]) -> None:
    """Raise ModelError if weights are absent: transformers would silently use random numbers for them."""
    if names:
        raise ModelError(
            f"the weights in {folder} do not fit its config.json: {len(names)} parameters are missing or of another "
            f"shape, first {min(names)}"
        )


def _runs_own_code(folder: Path, settings: dict[str, Any], config: ModelConfig) -> bool:
    """Whether to use the checkpoint's own code; a class that transformers has or that was registered takes precedence.

    Raises ModelError if that code is needed but absent or not trusted.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model_type = settings["model_type"]
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or _is_registered(model_type):
        return False
    if "AutoModelForCausalLM" not in settings.get("auto_map", {}):
        raise ModelError(f"{folder}: transformers has no causal language model of type {model_type!r}")
    if not config.trust_remote_code:
        raise ModelError(
            f"{folder}: type {model_type!r} runs only with code in the checkpoint; read that code, then set "
            "model.trust_remote_code: true if you trust it"
        )
    return True


def _is_registered(model_type: str) -> bool:
    """Whether a causal language model of this type was registered with the Auto classes of transformers."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    return model_type in CONFIG_MAPPING and CONFIG_MAPPING[model_type] in MODEL_FOR_CAUSAL_LM_MAPPING


def _refuse_absent_device(name: str) -> None:
    if name in SPREAD:
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"model.device {name!r} is not usable here: {one_line(error)}") from error


def _load_errors() -> tuple[type[Exception], ...]:
    """The errors that transformers, tokenizers, safetensors and torch raise for a folder that cannot be loaded."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    builtin = (OSError, ValueError, ImportError, RuntimeError, TypeError, KeyError, AttributeError)
    return (*builtin, StrictDataclassError, SafetensorError)
