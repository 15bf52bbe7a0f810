"""Whether this installation has what an engine needs, found without importing any of it."""

from importlib.metadata import entry_points
from importlib.util import find_spec

from mascing.errors import ConfigError
from mascing.schemas.settings.engine_settings import EngineConfig

_PLUGINS, _PLUGIN = "vllm.general_plugins", "mascing"


def refuse_missing(engine: EngineConfig) -> None:
    """Raise ConfigError, with what to do, for the engine `vllm` where it cannot be used."""
    if engine.kind != "vllm":
        return
    if find_spec("vllm") is None:
        raise ConfigError(
            "the engine `vllm` cannot be used: the package vllm is not installed; install it, on every worker too, or "
            "take `engine: {kind: transformers}`"
        )
    if not entry_points(group=_PLUGINS, name=_PLUGIN):
        raise ConfigError(
            f"the engine `vllm` cannot be used: nothing is registered as {_PLUGIN!r} in {_PLUGINS}, so no plugin would "
            "steer its models; install mascing again, or take `engine: {kind: transformers}`"
        )
