"""How the tests run vLLM: in their own process, where they can look into it, and without a process for each model."""

import gc
import os

import pytest

from tests.mascing.serving.vllm_plugin.tiny_checkpoints import ARCHITECTURES

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_NO_USAGE_STATS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _models_inspected_here() -> None:
    """vLLM starts a process to look at each model class that it has not seen on this machine, which takes 20 s."""
    registry = pytest.importorskip("vllm.model_executor.models.registry").ModelRegistry
    for name in ARCHITECTURES:
        registry.register_model(name, registry.models[name].load_model_cls())


@pytest.fixture(autouse=True)
def _imports_are_no_garbage() -> None:
    """An engine collects garbage nine times as it starts and ends, half a second each over all that was imported."""
    gc.freeze()
