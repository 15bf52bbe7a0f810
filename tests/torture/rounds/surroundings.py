"""What a torture round gives its run: a storage, which may be an S3 server behind a faulty proxy, and a Ray cluster."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import pytest

from tests import fixtures_s3
from tests.torture.rounds.injuries import PAUSE_SECONDS
from tests.torture.s3_proxy import Fault, faulty_proxy

FAULT_SHARE = 0.05
_FAULTS: tuple[Fault, ...] = ("lose the answer", "answer 503 instead")


class Around:
    """The surroundings of one round; ``environment`` is what its run needs of them."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        self.environment: dict[str, str] = {}
        self.server: Any = None
        self.start_server: Any = None
        self.cluster: Any = None
        self.node: Any = None

    def restart_s3(self, paused: bool) -> None:
        """Kill the S3 server and start it on the same data, or only pause it."""
        if paused:
            os.killpg(self.server.pid, signal.SIGSTOP)
            sleep(PAUSE_SECONDS)
            os.killpg(self.server.pid, signal.SIGCONT)
            return
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.server = self.start_server()

    def replace_node(self) -> None:
        """Remove a node of the Ray cluster without a warning, and add another."""
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self.cluster.add_node(num_cpus=1)


@contextmanager
def surroundings(needs: str, folder: Path, random: Random) -> Iterator[Around]:
    """A local folder; an S3 server with faults for ``s3``; for ``cluster`` a Ray cluster of two nodes as well."""
    if needs == "s3":
        with _s3(folder, random) as around:
            yield around
        return
    around = Around(str(folder / "storage"))
    if needs == "cluster":
        from ray.cluster_utils import Cluster

        around.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        around.node = around.cluster.add_node(num_cpus=1)
        around.environment["RAY_ADDRESS"] = around.cluster.address
        try:
            yield around
        finally:
            around.cluster.shutdown()
        return
    yield around


@contextmanager
def _s3(folder: Path, random: Random) -> Iterator[Around]:
    """A SeaweedFS server of its own; the environment of this process leads to it, that of the run to its proxy."""
    ports, home = fixtures_s3._free_ports(4), folder / "s3"
    home.mkdir()
    around = Around(f"s3://{fixtures_s3._BUCKET}/round")

    def start() -> Any:
        return fixtures_s3._start(home, *ports)

    def plan(method: str, path: str, status: int) -> Fault:
        return random.choice(_FAULTS) if random.random() < FAULT_SHARE / 2 else None  # it is asked twice a request

    around.start_server, around.server = start, start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[3]}",
        "AWS_ACCESS_KEY_ID": fixtures_s3._KEY,
        "AWS_SECRET_ACCESS_KEY": fixtures_s3._SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as here, faulty_proxy(settings["AWS_ENDPOINT_URL"], plan) as proxy:
            for name, value in settings.items():
                here.setenv(name, value)
            fixtures_s3._make_bucket(around.server, home / "log.txt")
            around.environment = {**settings, "AWS_ENDPOINT_URL": proxy}
            yield around
    finally:
        os.killpg(around.server.pid, signal.SIGKILL)
        around.server.wait()
