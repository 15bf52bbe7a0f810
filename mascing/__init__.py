"""Reconfigure Mixture-of-Experts language models by steering their routers, with evidence.

Names are imported on first use, so ``import mascing`` loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mascing.engines.side_by_side import compare
    from mascing.masks.mask import Mask
    from mascing.routers.spec import RouterSpec, inspect_routers
    from mascing.runs.run_traces import traces
    from mascing.steering.baking import bake
    from mascing.steering.steer import steer
    from mascing.traces.recording import record

    __version__: str

__all__ = ["Mask", "RouterSpec", "bake", "compare", "inspect_routers", "record", "steer", "traces"]

_HOMES = {
    "Mask": "mascing.masks.mask",
    "RouterSpec": "mascing.routers.spec",
    "bake": "mascing.steering.baking",
    "compare": "mascing.engines.side_by_side",
    "inspect_routers": "mascing.routers.spec",
    "record": "mascing.traces.recording",
    "steer": "mascing.steering.steer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mascing")
    if name == "traces":  # the package of that name, which is callable
        return import_module("mascing.traces")
    if name not in _HOMES:
        raise AttributeError(f"module 'mascing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
