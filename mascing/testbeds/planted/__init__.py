"""A small language model with a planted circuit: the built-in model of the demo, and the benchmark for every method.

Names are imported on first use: building needs torch, the behaviours do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mascing.testbeds.planted.behaviours import BEHAVIOURS, behaviour_config, conversations, judges
    from mascing.testbeds.planted.folder import build

__all__ = ["BEHAVIOURS", "behaviour_config", "build", "conversations", "judges"]

_HOMES = {
    "BEHAVIOURS": "mascing.testbeds.planted.behaviours",
    "behaviour_config": "mascing.testbeds.planted.behaviours",
    "build": "mascing.testbeds.planted.folder",
    "conversations": "mascing.testbeds.planted.behaviours",
    "judges": "mascing.testbeds.planted.behaviours",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mascing.testbeds.planted' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
