"""What torture rounds give their runs: storage, perhaps on an S3 server behind a faulty proxy, and perhaps servers.

One S3 server, one Prefect server and one Ray cluster are started for all rounds that use them, at the first of these.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import psutil
import pytest

from tests import fixtures_prefect, fixtures_s3
from tests.torture.rounds.storage_faults import StorageFaults
from tests.torture.s3_proxy import faulty_proxy

PAUSE_SECONDS = 3.0


class Around:
    """The surroundings of one round; ``environment`` is what its run needs of them."""

    def __init__(self, storage: str, s3: "S3 | None" = None, cluster: "SharedCluster | None" = None) -> None:
        self.storage, self._s3, self._cluster = storage, s3, cluster
        self.environment: dict[str, str] = {}

    def restart_s3(self, paused: bool) -> None:
        """Kill the S3 server and start it on the same data, or only pause it."""
        assert self._s3 is not None
        self._s3.restart(paused)

    def replace_node(self) -> None:
        """Remove a node of the Ray cluster without a warning, and add another."""
        assert self._cluster is not None
        self._cluster.lose_node()
        self._cluster.add_node()

    def add_node(self) -> None:
        """Add a node to the Ray cluster; an earlier one leaves when the next round is prepared."""
        assert self._cluster is not None
        self._cluster.add_node()

    def workers(self) -> list[psutil.Process]:
        """The actors on the shared cluster, if the run has joined it."""
        return [] if self._cluster is None else self._cluster.workers()


class S3:
    """A SeaweedFS server and the proxy before it; the environment of this process leads to the server itself."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._ports, self._folder = fixtures_s3._free_ports(4), folder
        folder.mkdir()
        self.faults = StorageFaults()
        self._server = self._started()
        stack.callback(self._end)
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports[3]}",
            "AWS_ACCESS_KEY_ID": fixtures_s3._KEY,
            "AWS_SECRET_ACCESS_KEY": fixtures_s3._SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        here = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in settings.items():
            here.setenv(name, value)
        self._wait()
        proxy = stack.enter_context(faulty_proxy(settings["AWS_ENDPOINT_URL"], self.faults.plan))
        self.environment = {**settings, "AWS_ENDPOINT_URL": proxy}

    def restart(self, paused: bool) -> None:
        """Kill the server and start it on the same data, or only pause it."""
        if paused:
            os.killpg(self._server.pid, signal.SIGSTOP)
            sleep(PAUSE_SECONDS)
            os.killpg(self._server.pid, signal.SIGCONT)
            return
        self._end()
        self._server = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        return fixtures_s3._start(self._folder, *self._ports)

    def _wait(self) -> None:
        fixtures_s3._make_bucket(self._server, self._folder / "log.txt")

    def _end(self) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


class SharedCluster:
    """A Ray cluster of a head and further nodes, each with room for one worker, which outlives the runs on it.

    Workers have the ``environment`` of their node, and so reach storage through the proxy.
    """

    def __init__(self, stack: ExitStack, environment: Mapping[str, str]) -> None:
        from ray.cluster_utils import Cluster

        self._environment = environment
        with self._in_environment():
            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        stack.callback(self._end)
        self._nodes: list[Any] = []
        self.add_node()
        self.address = self._cluster.address

    def prepare(self) -> None:
        """Leave the head and one node."""
        while len(self._nodes) > 1:
            self.lose_node()

    def lose_node(self) -> None:
        """Remove the first node without a warning."""
        node = self._nodes.pop(0)
        self._cluster.worker_nodes.remove(node)
        _kill(node)

    def add_node(self) -> None:
        """Add a node."""
        with self._in_environment():
            self._nodes.append(self._cluster.add_node(num_cpus=1))

    def workers(self) -> list[psutil.Process]:
        """The actors of all nodes of this machine."""
        found = []
        for node in self._cluster.list_all_nodes():
            for process in node.all_processes["raylet"]:
                with suppress(psutil.Error):
                    children = psutil.Process(process.process.pid).children(recursive=True)
                    found += [child for child in children if "ray::Worker" in child.name()]
        return found

    @contextmanager
    def _in_environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as here:
            for name, value in self._environment.items():
                here.setenv(name, value)
            yield

    def _end(self) -> None:
        session = self._cluster.head_node.get_session_dir_path()
        for node in self._cluster.list_all_nodes():
            _kill(node)
        shutil.rmtree(session, ignore_errors=True)


def _kill(node: Any) -> None:
    """End a node's processes at once, where Ray would give it 30 s; its workers end as their raylet is gone."""
    for processes in node.all_processes.values():
        for process in processes:
            process.process.kill()
            process.process.wait()


class Servers:
    """The servers that rounds share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    @cached_property
    def s3(self) -> S3:
        """The S3 server."""
        return S3(self._folder / "s3", self._stack)

    @cached_property
    def cluster(self) -> SharedCluster:
        """The Ray cluster."""
        return SharedCluster(self._stack, self.s3.environment)

    @cached_property
    def prefect(self) -> str:
        """The URL of the Prefect server."""
        return self._stack.enter_context(fixtures_prefect.served(self._folder / "prefect"))

    def around(self, number: int, storage: str, shared: bool, random: Random) -> Around:
        """The surroundings of a round: ``storage`` is ``s3`` or ``disk``; without ``shared``, it starts its servers."""
        s3, cluster = self.s3 if storage == "s3" else None, self.cluster if shared else None
        url = str(self._folder / f"round-{number}/storage") if s3 is None else f"s3://{fixtures_s3._BUCKET}/{number}"
        around = Around(url, s3, cluster)
        if s3 is not None:
            s3.faults.begin(random)
            around.environment |= s3.environment
        if cluster is not None:
            cluster.prepare()
            around.environment |= {"RAY_ADDRESS": cluster.address, "PREFECT_API_URL": self.prefect}
        return around


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """The servers of the rounds in ``folder``, which end with the block."""
    with ExitStack() as stack:
        yield Servers(folder, stack)
