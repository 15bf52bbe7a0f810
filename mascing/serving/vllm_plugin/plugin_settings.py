"""The settings of the plugin, which reach every process of vLLM within ``additional_config``."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from mascing.errors import ConfigError
from mascing.schemas.base import Frozen
from mascing.validation import complaints

KEY = "mascing"
"""The key that turns the plugin on in ``additional_config``, which vLLM makes part of what names its compiled graphs.

In ``extra_args`` it is the key under which admission tells the workers what it decided for a request."""


class PluginSettings(Frozen):
    """What a server prepares for before it starts; masks come and go while it runs."""

    slots: int = Field(default=256, ge=1, le=65536, description="masks that can be resident at once")
    overrides: bool = Field(default=True, description="whether masks may force experts, not only add a bias")
    capture: bool = Field(default=False, description="whether router logits and selected experts can be recorded")
    point: str | None = Field(default=None, description="where router logits are taken; null is the first that fits")


def settings_in(additional_config: Any) -> PluginSettings | None:
    """The plugin's settings, or None where it is not turned on. Raises ConfigError for those that are malformed."""
    given = additional_config.get(KEY) if isinstance(additional_config, Mapping) else None
    if given is None:
        return None
    try:
        return PluginSettings.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"additional_config[{KEY!r}]: {'; '.join(complaints(error, PluginSettings))}") from error
