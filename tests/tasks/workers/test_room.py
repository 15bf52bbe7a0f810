"""Where the cluster has no room, that is said, with what is asked and what there is; then workers join as it grows."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from mascing.progress import Event
from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers import room
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs."""
    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    ray.shutdown()
    made.shutdown()


def test_no_room_is_said_and_nodes_that_join_late_are_used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def heard(event: Event) -> None:
        said.append(event.text)
        for _ in range(2):
            cluster.add_node(num_cpus=1)

    monkeypatch.setattr(room, "_FIRST_SECONDS", 1.0)
    monkeypatch.setattr(room, "tell", heard)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Pool(ComputeConfig(workers=2, min_workers=2)) as pool:
        nodes = pool.map(_where, None, range(8), lambda done, total: None)
    assert len(set(nodes)) == 2
    [text] = said
    assert "no room for any of 2 workers yet: each asks for 1 CPUs and 0 GPUs" in text
    assert "0 of 0 CPUs free" in text


def _where(worker: Worker, shared: Any, item: int) -> str:
    time.sleep(0.2)
    return str(ray.get_runtime_context().get_node_id())
