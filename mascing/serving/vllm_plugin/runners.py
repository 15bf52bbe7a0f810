"""Follow the steps of vLLM's model runner, of either version: what a step holds is known once its inputs are prepared.

Version 1 has the batch in its own state, version 2 hands it back. The tests run version 1 alone: version 2 needs
Triton, so a GPU. What it would do wrong is refused by the proof at start and by the proof of each reply.
"""

import logging
from collections.abc import Iterable
from typing import Any

from mascing.errors import SteeringError

logger = logging.getLogger(__name__)

Batch = Iterable[tuple[str, int, int]]
"""Of each request, in the order of the batch: its name, its first position in the step, and how many it has there."""


def follow(runner: Any) -> None:
    """Have the runner tell of every step before its forward and after it. Raises SteeringError for a strange runner."""
    new: dict[str, Any] = {}
    _tell_of_inputs(runner, new)
    execute_model, dummy_run = runner.execute_model, runner._dummy_run

    def executed(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        for request in scheduler_output.scheduled_new_reqs:
            new[request.req_id] = request.sampling_params.extra_args if request.sampling_params else None
        runner.mascing.steps.finished(scheduler_output.finished_req_ids)
        result = execute_model(scheduler_output, *args, **kwargs)
        runner.mascing.steps.end()
        return result

    def dummy(*args: Any, **kwargs: Any) -> Any:
        if hasattr(runner, "mascing"):
            runner.mascing.steps.idle()
        return dummy_run(*args, **kwargs)

    runner.execute_model, runner._dummy_run = executed, dummy
    runner.plain_dummy_run = dummy_run


def _tell_of_inputs(runner: Any, new: dict[str, Any]) -> None:
    """Pass on each batch as its inputs are prepared; ``new`` are the extra arguments of requests not seen yet."""
    name, batch_of = _version(runner)
    prepare = getattr(runner, name)

    def prepared(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        result = prepare(scheduler_output, *args, **kwargs)
        batch = batch_of(runner, scheduler_output, result)
        runner.mascing.steps.begin(list(batch), lambda request: new.pop(request, None))
        return result

    setattr(runner, name, prepared)


def _version(runner: Any) -> tuple[str, Any]:
    if hasattr(runner, "_prepare_inputs"):
        return "_prepare_inputs", _batch_of_v1
    if hasattr(runner, "prepare_inputs"):
        logger.warning("vLLM's model runner V2 has not been tested with masks; VLLM_USE_V2_MODEL_RUNNER=0 selects V1")
        return "prepare_inputs", _batch_of_v2
    raise SteeringError("this version of vLLM prepares its steps elsewhere, so that masks would not know their tokens")


def _batch_of_v1(runner: Any, scheduler_output: Any, _: Any) -> Batch:
    batch, counts = runner.input_batch, scheduler_output.num_scheduled_tokens
    starts = batch.num_computed_tokens_cpu[: batch.num_reqs].tolist()
    return ((name, start, counts[name]) for name, start in zip(batch.req_ids[: batch.num_reqs], starts, strict=True))


def _batch_of_v2(_: Any, __: Any, batch: Any) -> Batch:
    starts, counts = batch.num_computed_tokens_np.tolist(), batch.num_scheduled_tokens.tolist()
    return zip(batch.req_ids, starts, counts, strict=True)
