"""Reconfigure Mixture-of-Experts language models by steering their routers, with evidence.

Names are imported when first used, so that ``import mascing`` costs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mascing.baking import bake
    from mascing.mask import Mask
    from mascing.recording import record
    from mascing.routers import RouterSpec, inspect_routers
    from mascing.steering import steer

__all__ = ["Mask", "RouterSpec", "bake", "inspect_routers", "record", "steer"]

_HOMES = {
    "Mask": "mascing.mask",
    "RouterSpec": "mascing.routers",
    "bake": "mascing.baking",
    "inspect_routers": "mascing.routers",
    "record": "mascing.recording",
    "steer": "mascing.steering",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mascing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
