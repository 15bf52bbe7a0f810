"""Mistakes in what `mascing harvest` is given: found before anything starts, and told by the names of its options."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mascing.engines.installed import refuse_missing
from mascing.engines.unloadable import why_unloadable_by
from mascing.errors import ConfigError, MascingError, ModelError
from mascing.models.checkpoints import pinned
from mascing.models.model_folder import refuse_dense, refuse_unloadable_fp8, refuse_without_weights, settings_of
from mascing.preflight.loading_options import refuse_unknown_names
from mascing.preflight.machine import machine_for
from mascing.schemas.collection import CollectionConfig
from mascing.storage.source import files_of_rows

_OPTIONS = {
    "model.path": "--model",
    "model.device": "--device",
    "model.dtype": "--dtype",
    "compute.workers": "--workers",
    "compute.num_gpus": "--gpus",
    "`engine: {kind: transformers}`": "--engine transformers",
}
_SETTING = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in _OPTIONS))


@contextmanager
def told_by_options() -> Iterator[None]:
    """Name options in place of settings in what the block raises, since the command has no configuration file."""
    try:
        yield
    except MascingError as error:
        error.args = (_SETTING.sub(lambda name: _OPTIONS[name[0]], str(error)),)
        raise


def refuse_mistakes(config: CollectionConfig) -> None:
    """Look at conversations and model without reading them.

    Raises MascingError if the conversations or the model are not there, or if the model lacks a layer or cannot be
    recorded. Of a model on S3 or the hub, no more is known before it is fetched than that it is there.
    """
    files_of_rows(config.conversations)
    refuse_unknown_names(config.model)
    if not os.environ.get("RAY_ADDRESS"):  # else the workers are elsewhere
        refuse_missing(config.engine)
    pinned(config.model)
    folder = Path(config.model.path).expanduser()
    if folder.is_dir():
        settings = settings_of(folder)
        refuse_unloadable_fp8(folder, settings)
        refuse_dense(folder, settings)
        refuse_without_weights(folder)
        _refuse_absent_layer(config.chosen.layers, settings)
        _refuse_unloadable(config, folder, settings)


def refuse_without_gpus(config: CollectionConfig) -> None:
    """Raise ConfigError if the workers ask for more GPUs than this machine has, and no cluster is named."""
    for problem in machine_for(config, weights=None).problems:
        raise ConfigError(problem)


def _refuse_unloadable(config: CollectionConfig, folder: Path, settings: dict[str, Any]) -> None:
    reason = why_unloadable_by(config.engine, config.compute.num_gpus, folder, settings)
    if reason is not None:
        raise ModelError(f"vLLM cannot load the model: {reason}: take `engine: {{kind: transformers}}`")


def _refuse_absent_layer(layers: tuple[int, ...] | None, settings: dict[str, object]) -> None:
    """Only the loaded model says which of its layers have experts; it has no more of these than layers."""
    inner = settings.get("text_config")
    there = (inner if isinstance(inner, dict) else settings).get("num_hidden_layers")
    if layers and isinstance(there, int) and layers[-1] >= there:
        raise ConfigError(
            f"--layers: there is no MoE layer {layers[-1]}: the model has {there} layers, counted from 0 to {there - 1}"
        )
