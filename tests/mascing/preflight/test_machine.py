"""What a run asks for, beside machines that have it and machines that do not."""

from typing import Any

import pytest

from mascing.preflight import engine_memory
from mascing.preflight.machine import Machine, machine_for
from mascing.schemas.config import RunConfig
from tests.mascing.made_machine import GIB, made_machine


def checked(
    weights: int, device: str = "cuda", workers: int = 1, num_gpus: float = 1, engine: dict[str, Any] | None = None
) -> Machine:
    """The machine beside a run of a model with ``weights`` GiB."""
    return machine_for(
        RunConfig.model_validate(
            {
                "model": {"path": "models/small", "device": device},
                "behaviour": {
                    "name": "content-policy",
                    "conversations": "conversations.jsonl",
                    **{kind: {"kind": "refusal"} for kind in ("target", "utility", "protected")},
                },
                "compute": {"workers": workers, "num_gpus": num_gpus},
                "engine": engine or {"kind": "transformers"},
            }
        ),
        weights * GIB,
    )


@pytest.mark.parametrize(
    ("gpus", "run", "problem"),
    [
        ([80, 80], {"weights": 60, "workers": 2}, None),
        ([80, 80], {"weights": 60, "workers": 3}, "compute asks for 3 GPUs (3 workers x 1) and this machine has 2"),
        ([], {"weights": 60}, "compute asks for 1 GPU (1 worker x 1) and this machine has 0"),
        ([80], {"weights": 90}, "the weights take 90.0 GiB and the GPUs of a worker have 80.0 GiB"),
        ([80, 24], {"weights": 30}, "the GPUs of a worker have 24.0 GiB"),  # a worker may get the smaller one
        ([80], {"weights": 60, "num_gpus": 0.5}, "the GPUs of a worker have 40.0 GiB"),
        ([80, 80], {"weights": 180, "num_gpus": 2, "device": "auto"}, "the GPUs of a worker have 160.0 GiB"),
        ([80, 80], {"weights": 120, "num_gpus": 2, "device": "auto"}, None),
    ],
)
def test_the_gpus_of_a_run(
    monkeypatch: pytest.MonkeyPatch, gpus: list[int], run: dict[str, Any], problem: str | None
) -> None:
    made_machine(monkeypatch, gpus, memory=64)
    problems = checked(**run).problems
    assert len(problems) == (problem is not None), problems
    assert problem is None or problem in problems[0]


def test_weights_that_leave_little_room_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made_machine(monkeypatch, [80], memory=64)
    assert checked(60).notes == ()
    (note,) = checked(70).notes
    assert "70.0 GiB of the 80.0 GiB on the GPUs of a worker" in note
    assert "generation.batch_size" in note


@pytest.mark.parametrize(
    ("workers", "problems", "notes"), [(1, 0, 0), (2, 0, 1), (3, 1, 0)], ids=["fits", "close", "too many"]
)
def test_the_memory_of_a_run_without_gpus(
    monkeypatch: pytest.MonkeyPatch, workers: int, problems: int, notes: int
) -> None:
    made_machine(monkeypatch, [], memory=64)
    machine = checked(30, device="cpu", workers=workers, num_gpus=0)
    assert (len(machine.problems), len(machine.notes)) == (problems, notes)
    for told in (*machine.problems, *machine.notes):
        assert "lower compute.workers" in told


@pytest.mark.parametrize(
    ("engine", "num_gpus", "said"),
    [
        ({"kind": "transformers"}, 0, "transformers: the weights take 8.0 GiB, in each worker"),
        (
            {},
            0,
            "vllm 0.32.0: the weights take 8.0 GiB and vLLM's cache 1.0 GiB, and the weights again by transformers",
        ),
        ({"kv_cache_memory_bytes": 3 * GIB}, 1, "vLLM's cache 3.0 GiB"),
        ({}, 1, "8.0 GiB within the 50% of a GPU that vLLM keeps for them and its cache, and again by transformers"),
        ({"gpu_memory_utilization": 0.4}, 0.5, "within the 20% of a GPU"),
    ],
)
def test_the_engine_of_a_run_is_told_with_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, engine: dict[str, Any], num_gpus: float, said: str
) -> None:
    monkeypatch.setattr(engine_memory, "vllm_version", lambda: "0.32.0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made_machine(monkeypatch, [80], memory=64)
    device = "cuda" if num_gpus else "cpu"
    assert said in checked(8, device, num_gpus=num_gpus, engine={"kind": "vllm"} | engine).engine


@pytest.mark.parametrize(
    ("weights", "problems", "notes"), [(24, 0, 0), (26, 0, 1), (64, 1, 0)], ids=["fits", "twice is close", "too many"]
)
def test_the_cache_and_second_weights_of_vllm_count(
    monkeypatch: pytest.MonkeyPatch, weights: int, problems: int, notes: int
) -> None:
    made_machine(monkeypatch, [], memory=64)
    machine = checked(weights, device="cpu", num_gpus=0, engine={"kind": "vllm"})
    assert (len(machine.problems), len(machine.notes)) == (problems, notes)
    for told in (*machine.problems, *machine.notes):
        assert f"the weights take {weights}.0 GiB and vLLM's cache 1.0 GiB" in told


@pytest.mark.parametrize(
    ("weights", "engine", "problem", "note"),
    [
        (30, {}, None, None),
        (50, {}, "vLLM keeps 40.0 GiB for them: raise engine.gpu_memory_utilization", None),
        (50, {"gpu_memory_utilization": 0.7}, None, "beside vLLM 24.0 GiB are left"),
        (50, {"kv_cache_memory_bytes": GIB}, None, None),  # then vLLM takes no share
    ],
)
def test_what_vllm_keeps_of_a_gpu_counts(
    monkeypatch: pytest.MonkeyPatch, weights: int, engine: dict[str, Any], problem: str | None, note: str | None
) -> None:
    made_machine(monkeypatch, [80], memory=64)
    found = checked(weights, engine={"kind": "vllm"} | engine)
    assert (len(found.problems), len(found.notes)) == (problem is not None, note is not None)
    for told, words in ((found.problems, problem), (found.notes, note)):
        assert words is None or words in told[0]


def test_the_limit_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made_machine(monkeypatch, [], memory=64)
    limit = tmp_path_factory.mktemp("cgroup") / "memory.max"
    limit.write_text(str(16 * GIB))
    monkeypatch.setattr("mascing.preflight.hardware._CGROUP_LIMIT", limit)
    assert "16.0 GiB of memory" in checked(30, device="cpu", num_gpus=0).problems[0]
    limit.write_text("max")
    assert not checked(30, device="cpu", num_gpus=0).problems
