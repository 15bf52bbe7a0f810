"""Several models side by side: a pool for each in one driver, on one cluster, with workers of its own."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster

from mascing.models.loading import Loaded, load
from mascing.schemas.config import ComputeConfig, ModelConfig
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from tests.mascing import olmoe_folder

_PATIENCE_SECONDS = 30.0
HALF_A_GPU = ComputeConfig(workers=1, num_gpus=0.5)
"""Logical GPUs: this machine needs none for its workers to be placed by them."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """One node with room for two workers that take half a GPU each."""
    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield made
    ray.shutdown()
    made.shutdown()


def saved(folder: Path, seed: int) -> ModelConfig:
    path = olmoe_folder.save(folder / f"model-{seed}", initializer_range=0.1 * seed)
    return ModelConfig(path=str(path), dtype="float32")


def test_two_models_work_side_by_side_and_each_pool_ends_alone(cluster: Cluster, tmp_path: Path) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    expected = {config.path: _gist(config) for config in (first, second)}
    assert len(set(expected.values())) == 2, "equal models would show nothing"
    with Pool(HALF_A_GPU, second) as longer:
        with Pool(HALF_A_GPU, first) as shorter:
            ours, theirs = iter(shorter.queue(_ask, first, range(6))), iter(longer.queue(_ask, second, range(6)))
            for (_, of_first), (_, of_second) in zip(ours, theirs, strict=True):
                assert of_first == expected[first.path]
                assert of_second == expected[second.path]
            assert _alive() == 2
        _wait_for(1)
        # The pool that goes on is not the one that came first, nor the one that came last.
        with Pool(HALF_A_GPU, first) as third:
            values = third.map(_ask, first, range(2), _nobody)
            assert values == [expected[first.path]] * 2
            assert longer.map(_ask, second, range(2), _nobody) == [expected[second.path]] * 2
        assert longer.map(_ask, second, range(2), _nobody) == [expected[second.path]] * 2
    assert not ray.is_initialized()
    ray.init(address=cluster.address)
    _wait_for(0)


def test_the_pool_that_connected_may_leave_first(cluster: Cluster) -> None:
    first, second = Pool(HALF_A_GPU), Pool(HALF_A_GPU)
    with second:
        with first:
            first.map(_double, None, range(2), _nobody)
            second.map(_double, None, range(2), _nobody)
        assert second.map(_double, None, range(4), _nobody) == [0, 2, 4, 6]
    assert not ray.is_initialized()


def _gist(config: ModelConfig) -> float:
    return _of(load(config))


def _ask(worker: Worker, config: ModelConfig, item: int) -> float:
    return _of(worker.model(config))


def _of(loaded: Loaded) -> float:
    return float(loaded.model.get_input_embeddings().weight.detach().double().sum())


def _double(worker: Worker, shared: None, item: int) -> int:
    return 2 * item


def _nobody(done: int, total: int) -> None:
    pass


def _alive() -> int:
    return sum(actor["State"] == "ALIVE" for actor in actors().values())


def _wait_for(actors: int) -> None:
    """Return once so many are left; Ray ends them beside us."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (alive := _alive()) != actors:
        assert time.monotonic() < deadline, f"{alive} workers are left instead of {actors}"
        time.sleep(0.2)
