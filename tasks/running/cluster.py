"""Connect to the Ray cluster that RAY_ADDRESS names, or start a local Ray instance."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from subprocess import Popen
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._private.utils import get_num_cpus

from mascing.errors import ConfigError, ServerError, first_line
from mascing.progress import Event, tell
from mascing.reachability import answers, speaks_grpc
from mascing.schemas.config import ComputeConfig
from mascing.tasks.guarding.guardian import guarded, keep_folders
from mascing.tasks.guarding.sigterm import interrupted_on_sigterm
from mascing.tasks.guarding.watch import Part, Watch, done_within, loss
from mascing.tasks.running.ray_token import own_token, use_token

_ADVICE = "start the cluster (`ray start --head`), correct RAY_ADDRESS, or unset it for a local instance"
_START_SECONDS = 180.0
"""Ray takes some 6 s to start, over a minute on a very busy machine, or for ever if a part of it does not answer."""
_END_SECONDS = 20.0
"""Ray takes two or three to end, or for ever if a part of it does not answer."""


def refuse_absent_cluster() -> None:
    """Raise ServerError if RAY_ADDRESS names an address where no Ray cluster answers, or one that refuses our token.

    It asks for seconds only, where Ray itself tries for minutes. If the cluster wants our token, Ray sends it from now
    on. Without RAY_ADDRESS, raises ServerError if a local instance could not read the token that it wants.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        if os.environ.get("RAY_AUTH_MODE") != "disabled":
            own_token()
        return
    if not answers(address):
        raise ServerError(f"no Ray cluster answers at RAY_ADDRESS {address}: start it, or unset RAY_ADDRESS")
    if address.startswith("ray://"):
        return
    try:
        place = canonicalize_bootstrap_address_or_die(address)  # looks up `auto` as well
    except (ConnectionError, ValueError) as error:
        raise ServerError(f"RAY_ADDRESS {address} cannot be used ({first_line(error)}): {_ADVICE}") from error
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    if not speaks_grpc(place):
        raise ServerError(
            f"what answers at RAY_ADDRESS {address} is no Ray cluster: name the port that `ray start --head` printed "
            "(6379 by default), or unset RAY_ADDRESS"
        )
    use_token(place)


def connecting() -> str:
    """What a run waits for while it connects, in words."""
    address = os.environ.get("RAY_ADDRESS")
    return f"joining the Ray cluster at {address}" if address else "starting Ray, about 6 s"


class Cluster:
    """The cluster that this process is connected to, watched until it is closed."""

    def __init__(self) -> None:
        self._advice = _if_lost()
        self._watch = Watch(*_parts(self._advice))

    def refuse_lost(self) -> None:
        """Raise ServerError if the cluster does not answer any more; it only looks, so it takes no time."""
        self._watch.refuse_lost()

    def close(self) -> None:
        """Disconnect; a local instance ends."""
        self._watch.close()
        with done_within(_END_SECONDS, "Ray", "end", self._advice):
            ray.shutdown()


def connect(compute: ComputeConfig) -> Cluster:
    """Connect this process to the cluster of RAY_ADDRESS, or to a local instance with room for the workers.

    Raises ServerError if neither can be had, and ConfigError if this machine has too few GPUs.
    """
    if os.environ.get("RAY_ADDRESS"):
        join_cluster()
        cluster = Cluster()  # from here on, it is watched
        _tell_room(compute)
        return cluster
    # Logical CPUs, as many as the workers reserve, so that a small machine places every worker.
    start_local(max(1, round(compute.workers * compute.num_cpus + 0.5)))
    cluster = Cluster()
    _tell_crowd(compute)
    gpus_needed, gpus_here = compute.workers * compute.num_gpus, ray.cluster_resources().get("GPU", 0)
    if gpus_needed > gpus_here:
        cluster.close()
        raise ConfigError(
            f"compute asks for {gpus_needed:g} GPUs ({compute.workers} workers x {compute.num_gpus:g}) and this "
            f"machine has {gpus_here:g}: lower compute.workers or compute.num_gpus, or name a Ray cluster in "
            "RAY_ADDRESS"
        )
    return cluster


def _parts(advice: str) -> Iterator[Part]:
    """The servers of Ray that this process talks to: the cluster's store, and the raylet of this machine."""
    node = ray._private.worker.global_worker.node
    if node is None:  # a client of ray://, which talks to one server
        yield Part("the Ray cluster", partial(answers, os.environ["RAY_ADDRESS"]), advice)
        return
    speaks = speaks_grpc if os.environ.get("RAY_USE_TLS", "0") in ("", "0") else answers
    lost = keep_folders if node.is_head() else _nothing
    raylet = f"{node.node_ip_address}:{node.node_manager_port}"
    for name, place, kind in (
        ("Ray's GCS", node.gcs_address, ray_constants.PROCESS_TYPE_GCS_SERVER),
        ("Ray's raylet", raylet, ray_constants.PROCESS_TYPE_RAYLET),
    ):
        own = [process.process for process in node.all_processes.get(kind, ())]
        yield Part(f"{name} ({place})", partial(_answers, speaks, place), advice, lost, partial(_any_ended, own))


def _any_ended(processes: Sequence[Popen[bytes]]) -> bool:
    return any(process.poll() is not None for process in processes) and ray.is_initialized()


def _answers(speaks: Callable[[str], bool], place: str) -> bool:
    return speaks(place) or not ray.is_initialized()  # who has disconnected misses nothing


def _if_lost() -> str:
    """What to do if the cluster is lost."""
    if address := os.environ.get("RAY_ADDRESS"):
        return f"look at the cluster at RAY_ADDRESS {address} with `ray status`, and start it again if it is gone"
    logs = ray._private.worker.global_worker.node.get_logs_dir_path()
    return f"it was killed, often because memory is short (lower compute.workers), or stopped; its logs are in {logs}"


def _nothing() -> None:
    """A cluster that others started keeps its logs itself."""


def _tell_crowd(compute: ComputeConfig) -> None:
    """Say so if the workers of a local instance want more CPUs than the machine has."""
    wanted, here = compute.workers * compute.num_cpus, get_num_cpus()
    if wanted > here:
        _note(
            f"{compute.workers} workers want {wanted:g} CPUs and this machine has {here}: fewer would be as fast and "
            "take less memory: lower compute.workers"
        )


def _tell_room(compute: ComputeConfig) -> None:
    """Say so if the cluster has room for fewer workers; it may still grow."""
    resources, wanted = ray.cluster_resources(), {"CPU": compute.num_cpus, "GPU": compute.num_gpus}
    room = min((int(resources.get(name, 0) / each) for name, each in wanted.items() if each), default=compute.workers)
    if room < compute.workers:
        _note(
            f"the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, room for {room} "
            f"of {compute.workers} workers: the others wait until it grows; to do without them, lower compute.workers"
        )


def _note(text: str) -> None:
    tell(Event("ray", "note", text=text))


def join_cluster() -> None:
    """Connect to the cluster of RAY_ADDRESS. Raises ServerError if there is none or if it is of another version."""
    refuse_absent_cluster()
    address = os.environ["RAY_ADDRESS"]
    _init(f"RAY_ADDRESS {address} cannot be used", _ADVICE, address=address)


def start_local(cpus: int) -> None:
    """Start a Ray instance of this process. Raises ServerError if it does not start."""
    with guarded(starts_ray=True):
        _init(
            "Ray does not start",
            "check memory, how busy this machine is, and the folder for temporary files (RAY_TMPDIR)",
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            # Else Ray starts a process for each CPU, which our actors, with settings of their own, do not take over.
            _system_config={"prestart_worker_first_driver": False},
        )


def _init(failure: str, advice: str, **options: Any) -> None:
    try:
        with interrupted_on_sigterm(), done_within(_START_SECONDS, "Ray", "start", advice):
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of a raylet that does not answer, Ray raises the base class
        raise ServerError(loss(f"{failure} ({first_line(error)})", advice)) from error
