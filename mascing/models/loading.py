"""Load a model with its tokenizer from a folder, a storage URL or the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from mascing.errors import ModelError
from mascing.models import deepseek_v1
from mascing.models.checkpoints import checkpoint_fingerprint, local_folder, one_line
from mascing.models.misfits import LOADING, failed_conversion, misfits
from mascing.models.model_folder import refuse_unloadable_fp8, refuse_without_weights, settings_of
from mascing.models.tokenizer import context_length, load_errors, load_tokenizer, tokenizer_in
from mascing.schemas.config import SPREAD, ModelConfig

__all__ = ["Loaded", "checkpoint_fingerprint", "context_length", "load", "load_model", "load_tokenizer"]


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
        tokenizer = tokenizer_in(folder, config)
        return Loaded(_model(folder, settings, config), tokenizer)


def load_model(config: ModelConfig) -> Any:
    """Load the model alone, as :func:`load` does and with its errors; the folder needs no tokenizer."""
    _refuse_absent_device(config.device)
    with local_folder(config) as folder:
        return _model(folder, _checked_settings(folder), config)


def _checked_settings(folder: Path) -> dict[str, Any]:
    settings = settings_of(folder)
    refuse_without_weights(folder)
    refuse_unloadable_fp8(folder, settings)
    return settings


def _model(folder: Path, settings: dict[str, Any], config: ModelConfig) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": config.dtype if config.dtype == "auto" else getattr(torch, config.dtype),
        "use_safetensors": True,
        **LOADING,
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
        made = [key for key in report["missing_keys"] if is_deepseek_v1 and key.endswith(deepseek_v1.ADDED)]
        if unfit := misfits(report, made):
            raise ModelError(f"the weights in {folder} do not fit its config.json: {unfit}")
        if is_deepseek_v1:
            deepseek_v1.restore_shared_experts(model)
        return model
    except load_errors() as error:
        reason = failed_conversion(error) or one_line(error)
        raise ModelError(f"the model in {folder} cannot be loaded: {reason}") from error


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
