"""The settings of every run of a campaign, put together from its parts."""

from collections.abc import Collection, Iterator
from typing import Any

from mascing.schemas.campaign import CampaignConfig
from mascing.schemas.settings.method_settings import MethodsConfig

_BUILT_IN = tuple(name for name in MethodsConfig.model_fields if name != "random")


def settings_of(config: CampaignConfig, model: str, behaviour: str) -> dict[str, Any]:
    """The `run.yaml` of the runs of a model and a behaviour, without their seed.

    A behaviour's settings go before a model's, and these before the shared ones.
    """
    named = {"behaviour": {"name": behaviour}}
    parts = (named, config.shared, config.models[model], config.behaviours[behaviour])
    merged: dict[str, Any] = {}
    for part in parts:
        merged = _over(merged, part)
    return {**merged, "methods": {**dict.fromkeys(_BUILT_IN), **config.methods}}


def pairs(config: CampaignConfig) -> Iterator[tuple[str, str]]:
    """Every model with every behaviour; all of a model together, so that it is loaded once."""
    return ((model, behaviour) for model in config.models for behaviour in config.behaviours)


def named(config: CampaignConfig, tasks: Collection[tuple[str, str]]) -> str:
    """Pairs of a model and a behaviour in few words: whole models, else whole behaviours, else one by one."""
    models = [name for name in config.models if all((name, behaviour) in tasks for behaviour in config.behaviours)]
    behaviours = [name for name in config.behaviours if all((model, name) in tasks for model in config.models)]
    if len(models) == len(config.models):
        return "all runs"
    if len(models) * len(config.behaviours) == len(tasks):
        return f"{', '.join(models)} with every behaviour"
    if len(behaviours) * len(config.models) == len(tasks):
        return f"{', '.join(behaviours)} on every model"
    return ", ".join(f"{behaviour} on {model}" for model, behaviour in pairs(config) if (model, behaviour) in tasks)


def _over(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``, mapping by mapping. A mapping with another `kind` replaces the one below."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if "kind" in above and above["kind"] != below.get("kind", above["kind"]):
        return above
    return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
