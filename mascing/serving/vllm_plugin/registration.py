"""The entry point of the plugin: what it adds to the workers of vLLM.

Nothing is touched in a worker whose configuration does not turn the plugin on, and without a worker nothing at all: a
method of vLLM's wrapper around workers asks for the configuration, and that is all that a stock server runs of this.
"""

from functools import partial
from typing import Any

from mascing.serving.vllm_plugin.front.attachment import stand_before_engines
from mascing.serving.vllm_plugin.front.start_failure import tell_start_failure
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

    tell_start_failure()
    init_device.mascing = True  # type: ignore[attr-defined]
    WorkerWrapperBase.init_device = init_device


def prepare(worker: Any, settings: PluginSettings) -> None:
    """Have this worker load its model with masks, follow its steps, and answer by the methods of :mod:`.methods`."""
    from mascing.serving.vllm_plugin.masking import load_with_masks
    from mascing.serving.vllm_plugin.methods import METHODS
    from mascing.serving.vllm_plugin.runners import follow
    from mascing.serving.vllm_plugin.unsupported import refuse_unsupported

    refuse_unsupported(worker.vllm_config)
    runner = worker.model_runner
    load_model = runner.load_model

    def load(*args: Any, **kwargs: Any) -> None:
        load_with_masks(runner, settings, partial(load_model, *args, **kwargs))

    runner.load_model = load
    for name, method in METHODS.items():
        setattr(worker, name, partial(method, runner))
    follow(runner)
