"""Absolute paths in place of those that are relative to the file of a configuration."""

import os
from pathlib import Path
from typing import Any

from mascing.errors import ConfigError
from mascing.models.checkpoints import is_hub_id
from mascing.schemas.catalogue.sources import SourceConfig
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.judge_paths import with_paths
from mascing.schemas.settings.judge_settings import JudgeConfig


def located(config: RunConfig, path: str) -> RunConfig:
    """Return the configuration with absolute paths in place of those that are relative to the file."""
    behaviour, model = config.behaviour, config.model
    files: dict[str, Any] = {"conversations": _located_rows(behaviour.conversations, path)}
    if behaviour.truth is not None:
        files["truth"] = beside(path, "behaviour.truth", behaviour.truth)
    judges: dict[str, Any] = {
        name: _located_judge(getattr(behaviour, name), f"behaviour.{name}", path)
        for name in ("target", "utility", "protected")
    }
    judges["judges"] = {
        name: _located_judge(judge, f"behaviour.judges.{name}", path) for name, judge in behaviour.judges.items()
    }
    return config.model_copy(
        update={
            "behaviour": behaviour.model_copy(update={**files, **judges}),
            "model": model.model_copy(update={"path": model_beside(path, "model.path", model.path)}),
        }
    )


def _located_judge(judge: JudgeConfig, place: str, path: str) -> JudgeConfig:
    def moved(field: str, value: str) -> str:
        absolute = model_beside if field.endswith("model.path") else beside
        return absolute(path, f"{place}.{field}", value)

    return with_paths(judge, moved)


def _located_rows(conversations: str | tuple[SourceConfig, ...], path: str) -> str | tuple[SourceConfig, ...]:
    if isinstance(conversations, str):
        return beside(path, "behaviour.conversations", conversations)
    return tuple(
        source
        if source.file is None
        else source.model_copy(update={"file": beside(path, f"behaviour ({source.name}): file", source.file)})
        for source in conversations
    )


def model_beside(path: str, field: str, value: str) -> str:
    """The same for a model, which may also be a hub id."""
    folder = beside(path, field, value)
    return value if is_hub_id(value) and not Path(folder).is_dir() else folder


def beside(path: str, field: str, value: str) -> str:
    """A path relative to the file as an absolute one; URLs, absolute paths and those of a home folder as they are.

    Raises ConfigError if the path leads somewhere from the working directory alone.
    """
    if "://" in value or value.startswith("~") or os.path.isabs(value):
        return value
    folder = os.path.dirname(os.path.abspath(path))
    found = os.path.abspath(os.path.join(folder, value))
    if not os.path.exists(found) and os.path.exists(value):
        raise ConfigError(
            f"{field}: there is no {found}: paths are relative to {path}, so write {os.path.relpath(value, folder)}"
        )
    return found
