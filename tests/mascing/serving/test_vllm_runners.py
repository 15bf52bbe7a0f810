"""Both versions of the model runner tell the same of a step; neither runs here, their state and calls are made up."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mascing.errors import SteeringError
from mascing.serving.vllm_plugin.runners import follow


class Steps:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, batch: list[tuple[str, int, int]], arguments_of: Any) -> None:
        self.told.append((batch, [arguments_of(name) for name, _, _ in batch]))

    def end(self) -> None:
        self.told.append("end")

    def finished(self, names: Any) -> None:
        self.told.append(("finished", set(names)))

    def idle(self) -> None:
        self.told.append("idle")


class V1:
    def __init__(self) -> None:
        self.mascing = SimpleNamespace(steps=Steps())
        starts = np.array([7, 0, 99])
        self.input_batch = SimpleNamespace(req_ids=["b", "a"], num_reqs=2, num_computed_tokens_cpu=starts)

    def _prepare_inputs(self, scheduler_output: Any, num_scheduled_tokens: Any) -> str:
        return "inputs"

    def execute_model(self, scheduler_output: Any) -> str:
        assert self._prepare_inputs(scheduler_output, None) == "inputs"
        return "output"

    def _dummy_run(self, tokens: int) -> int:
        return tokens


class V2:
    def __init__(self) -> None:
        self.mascing = SimpleNamespace(steps=Steps())

    def prepare_inputs(self, scheduler_output: Any, *args: Any) -> Any:
        return SimpleNamespace(
            req_ids=["b", "a"], num_computed_tokens_np=np.array([7, 0]), num_scheduled_tokens=np.array([1, 4])
        )

    def execute_model(self, scheduler_output: Any, dummy_run: bool = False) -> str:
        if not dummy_run:
            self.prepare_inputs(scheduler_output, None, None, 0)
        return "output"

    def _dummy_run(self, tokens: int) -> int:
        return tokens


@pytest.mark.parametrize("version", [V1, V2])
def test_a_step_is_told_with_the_arguments_of_its_new_requests(version: Any) -> None:
    runner = version()
    follow(runner)
    new = [SimpleNamespace(req_id="a", sampling_params=SimpleNamespace(extra_args={"x": 1}))]
    step = SimpleNamespace(scheduled_new_reqs=new, finished_req_ids={"z"}, num_scheduled_tokens={"a": 4, "b": 1})
    assert runner.execute_model(step) == "output"
    assert runner.mascing.steps.told == [
        ("finished", {"z"}),
        ([("b", 7, 1), ("a", 0, 4)], [None, {"x": 1}]),
        "end",
    ]


@pytest.mark.parametrize("version", [V1, V2])
def test_a_dummy_run_steers_nothing_and_the_plain_one_is_kept(version: Any) -> None:
    runner = version()
    follow(runner)
    assert runner._dummy_run(3) == 3
    assert runner.plain_dummy_run(4) == 4
    assert runner.mascing.steps.told == ["idle"]


def test_a_runner_of_neither_version_is_refused() -> None:
    with pytest.raises(SteeringError, match="prepares its steps elsewhere"):
        follow(SimpleNamespace(execute_model=None, _dummy_run=None))
