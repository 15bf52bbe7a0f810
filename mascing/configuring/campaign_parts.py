"""The parts of a campaign with absolute paths, so that it runs as it stands from another folder."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mascing.configuring.located import beside, model_beside
from mascing.schemas.campaign import CampaignConfig, Part
from mascing.schemas.settings.judge_settings import BUILT_IN
from mascing.schemas.settings.judging_models import SHIPPED_RUBRICS

_Settings = dict[str, Any]


def with_located_parts(config: CampaignConfig, path: str) -> CampaignConfig:
    """The campaign with absolute paths in place of those relative to its file at ``path``.

    The parts are settings as they were written, and need not be whole. Raises ConfigError for a path from the working
    directory.
    """
    return config.model_copy(
        update={
            "models": {name: _part(part, path) for name, part in config.models.items()},
            "behaviours": {name: _part(part, path) for name, part in config.behaviours.items()},
            "shared": _part(config.shared, path),
        }
    )


def _part(part: Part, path: str) -> Part:
    model = _each(part, ["model"], lambda model: _model(model, path, "model"))
    return part | model | _each(part, ["behaviour"], lambda behaviour: _behaviour(behaviour, path))


def _model(model: _Settings, path: str, place: str) -> _Settings:
    named = model.get("path")
    return model | {"path": model_beside(path, f"{place}.path", named)} if isinstance(named, str) else model


def _behaviour(behaviour: _Settings, path: str) -> _Settings:
    found = _source(behaviour, path) | _paths(behaviour, ["conversations", "truth"], path, "behaviour")
    for name in ("conversations", "beside"):
        if isinstance(listed := behaviour.get(name), list):
            found[name] = [_listed(each, path) for each in listed]
    found |= _each(behaviour, ["target", "utility", "protected"], lambda judge: _judge(judge, path))
    return found | _each(behaviour, ["judges"], lambda own: own | _each(own, own, lambda judge: _judge(judge, path)))


def _listed(source: Any, path: str) -> Any:
    """One of several sources, or an entry of the catalogue beside the target, by its name or with settings."""
    if isinstance(source, str):
        return _source({"catalogue": source}, path)["catalogue"]
    return _source(source, path) if isinstance(source, dict) else source


def _source(settings: _Settings, path: str) -> _Settings:
    """Settings that may name a file of rows, and an entry of one's own."""
    own = str(settings.get("catalogue")).endswith((".yaml", ".yml"))
    return settings | _paths(settings, ["file", *(["catalogue"] if own else [])], path, "behaviour")


def _judge(judge: _Settings, path: str) -> _Settings:
    found = judge | _paths(judge, ["calibration"], path, "calibration")
    if judge.get("kind", BUILT_IN[0]) not in BUILT_IN:
        return found
    # Settings without a kind refine those of another part, which may be a text where these could be a path.
    texts = {name: text for name in ("prompt", "rubric") if (text := judge.get(name)) not in SHIPPED_RUBRICS}
    found |= {name: file for name, file in _paths(texts, texts, path, "judge").items() if os.path.exists(file)}
    found |= _each(judge, ["model"], lambda model: _model(model, path, "judge.model"))
    if isinstance(members := judge.get("members"), list):
        found["members"] = [_judge(each, path) if isinstance(each, dict) else each for each in members]
    return found


def _paths(settings: Mapping[str, Any], names: Iterable[str], path: str, place: str) -> _Settings:
    """Those of the names that hold text, as absolute paths."""
    texts = {name: value for name in names if isinstance(value := settings.get(name), str)}
    return {name: beside(path, f"{place}.{name}", text) for name, text in texts.items()}


def _each(settings: Mapping[str, Any], names: Iterable[str], changed: Callable[[_Settings], _Settings]) -> _Settings:
    """Those of the names that hold a mapping, changed."""
    mappings = {name: value for name in names if isinstance(value := settings.get(name), dict)}
    return {name: changed(value) for name, value in mappings.items()}
