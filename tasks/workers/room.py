"""What to say while the cluster has no room for a worker."""

import time

import ray

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

    def look(self, ready: int, wanted: int) -> None:
        """Say it if no worker is ``ready`` and none can be placed, or again if that stays so."""
        if ready or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _AGAIN_SECONDS
        missing = self._missing()
        if missing:
            tell(Event("ray", "note", text=f"no room for any of {counted(wanted, 'worker')} yet: {missing}"))

    def _missing(self) -> str:
        """What a worker asks for and what the nodes have; empty if one has room for it."""
        asked = {"CPU": self._compute.num_cpus, "GPU": self._compute.num_gpus}
        free = ray.available_resources()
        if all(free.get(name, 0.0) >= amount for name, amount in asked.items()):
            return ""
        there = ray.cluster_resources()
        have = ", ".join(f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s free" for name in asked)
        return (
            f"each asks for {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs, and the cluster has {have}; the run waits "
            "until it grows or other work ends. Lower compute.num_cpus or compute.num_gpus, or add a node"
        )
