"""The engine `vllm`: it is refused, with what is missing, until a plugin steers the routers of vLLM's models.

vLLM runs a model in processes of its own, so nothing here can reach its routers. A plugin that vLLM itself loads there
(entry point `mascing` of the group `vllm.general_plugins`) will put a mask on each row.
"""

from importlib.metadata import entry_points
from importlib.util import find_spec

from mascing.errors import ConfigError

_PLUGINS, _PLUGIN = "vllm.general_plugins", "mascing"


def refused_vllm() -> ConfigError:
    """The error that says what this installation lacks for the engine, and what to do."""
    if find_spec("vllm") is None:
        lacking = "the package vllm is not installed"
    elif not entry_points(group=_PLUGINS, name=_PLUGIN):
        lacking = f"no plugin steers its models: nothing is registered as {_PLUGIN!r} in {_PLUGINS}"
    else:
        lacking = "this version of mascing does not know the plugin that is registered"
    return ConfigError(f"the engine `vllm` cannot be used: {lacking}; use the engine `transformers`")
