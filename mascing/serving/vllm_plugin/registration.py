"""The entry point of the plugin: what it adds to the workers of vLLM.

Nothing is touched in a worker whose configuration does not turn the plugin on, and without a worker nothing at all: a
method of vLLM's wrapper around workers asks for the configuration, and that is all that a stock server runs of this.
"""

from functools import partial
from typing import Any

from mascing.serving.vllm_plugin.front.attachment import stand_before_engines
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings, settings_in


def register() -> None:
    """Prepare vLLM's workers and its front; vLLM calls this in each of its processes, in some more than once."""
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    stand_before_engines()

    plain = WorkerWrapperBase.init_device
    if getattr(plain, "mascing", False):
        return

    def init_device(self: Any) -> None:
        plain(self)
        settings = settings_in(self.vllm_config.additional_config)
        if settings is not None:
            prepare(self.worker, settings)

    init_device.mascing = True  # type: ignore[attr-defined]
    WorkerWrapperBase.init_device = init_device


def prepare(worker: Any, settings: PluginSettings) -> None:
    """Have this worker load its model with masks, follow its steps, and answer by the methods of :mod:`.methods`."""
    from mascing.serving.vllm_plugin.masking import load_with_masks
    from mascing.serving.vllm_plugin.methods import METHODS
    from mascing.serving.vllm_plugin.refusals import refuse_unsupported

    refuse_unsupported(worker.vllm_config)
    runner = worker.model_runner
    runner.load_model = partial(_load, runner, settings, runner.load_model, load_with_masks)
    for name, method in METHODS.items():
        setattr(worker, name, partial(method, runner))
    follow(runner)


def _load(runner: Any, settings: PluginSettings, plain: Any, load_with_masks: Any, *args: Any, **kwargs: Any) -> None:
    load_with_masks(runner, settings, partial(plain, *args, **kwargs))


def follow(runner: Any) -> None:
    """Have the runner tell of every step before its forward, and after it."""
    prepare_inputs, execute_model, dummy_run = runner._prepare_inputs, runner.execute_model, runner._dummy_run

    def prepared(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        result = prepare_inputs(scheduler_output, *args, **kwargs)
        batch = runner.input_batch
        names = batch.req_ids[: batch.num_reqs]
        starts = batch.num_computed_tokens_cpu[: batch.num_reqs].tolist()
        counts = scheduler_output.num_scheduled_tokens
        step = [(name, start, counts[name]) for name, start in zip(names, starts, strict=True)]
        runner.mascing.steps.begin(step, lambda name: runner.requests[name].sampling_params.extra_args)
        return result

    def executed(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        runner.mascing.steps.finished(scheduler_output.finished_req_ids)
        result = execute_model(scheduler_output, *args, **kwargs)
        runner.mascing.steps.end()
        return result

    def dummy(*args: Any, **kwargs: Any) -> Any:
        if hasattr(runner, "mascing"):
            runner.mascing.steps.idle()
        return dummy_run(*args, **kwargs)

    runner._prepare_inputs, runner.execute_model, runner._dummy_run = prepared, executed, dummy
    runner.plain_dummy_run = dummy_run
