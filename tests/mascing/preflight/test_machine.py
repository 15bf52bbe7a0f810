"""What a run asks for, beside machines that have it and machines that do not."""

from typing import Any

import pytest

from mascing.preflight.machine import Machine, machine_for
from mascing.schemas.config import RunConfig
from tests.mascing.made_machine import GIB, made_machine


def checked(weights: int, device: str = "cuda", workers: int = 1, num_gpus: float = 1) -> Machine:
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
