"""What to say while the cluster has no room for a worker."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray._private.state import actors

from mascing.progress import Event, tell
from mascing.prose import counted
from mascing.schemas.config import ComputeConfig

_FIRST_SECONDS = 20.0
_AGAIN_SECONDS = 300.0


class Room:
    """Tells within half a minute that workers find no room, with what they ask for and what there is."""

    def __init__(self, compute: ComputeConfig) -> None:
        self._compute = compute
        self._next = time.monotonic() + _FIRST_SECONDS

    def look(self, workers: Sequence[Any]) -> None:
        """Say it if none of the workers is placed, and again if that stays so."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _AGAIN_SECONDS
        if not any(map(placed, workers)):
            text = f"no room for any of {counted(len(workers), 'worker')} yet: {self._missing()}"
            tell(Event("ray", "note", text=text))

    def _missing(self) -> str:
        """What a worker asks for and what the nodes have."""
        asked = {"CPU": self._compute.num_cpus, "GPU": self._compute.num_gpus}
        free, there = ray.available_resources(), ray.cluster_resources()
        have = ", ".join(f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s free" for name in asked)
        return (
            f"each asks for {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs, and the cluster has {have}; the run waits "
            "until it grows or other work ends. Lower compute.num_cpus or compute.num_gpus, or add a node"
        )


def placed(worker: Any) -> bool:
    """Whether a node has started the worker's process; Ray calls it pending until it can take calls."""
    return bool(actors(worker._actor_id.hex()).get("Address", {}).get("Port"))
