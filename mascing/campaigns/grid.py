"""The settings of every run of a campaign, put together from its parts."""

from collections.abc import Iterator
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


def _over(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``, mapping by mapping. A mapping with another `kind` replaces the one below."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if "kind" in above and above["kind"] != below.get("kind", above["kind"]):
        return above
    return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
