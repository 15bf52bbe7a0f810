"""Which engine a run replies by, and the memory that it takes."""

import os
from dataclasses import dataclass

from mascing.engines.installed import vllm_version
from mascing.preflight.hardware import size_text
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.engine_settings import VllmEngine


@dataclass(frozen=True)
class EngineMemory:
    """An engine by its ``name``, and what it takes in each worker, in words.

    Without a GPU these are ``least`` bytes, and ``most`` in the stages that load the model by transformers as well.
    ``share`` of a GPU is what vLLM keeps for weights and cache; 0 where it does not, as by transformers.
    """

    name: str
    taken: str
    least: int
    most: int
    share: float = 0


def engine_memory(config: RunConfig | CollectionConfig, weights: int | None) -> EngineMemory:
    """The engine of ``config``; ``weights`` are the bytes of one loaded model, if known."""
    size, num_gpus = weights or 0, config.compute.num_gpus
    once = f"the weights take {size_text(weights) if weights is not None else 'what is not known here'}"
    engine = config.engine
    if not isinstance(engine, VllmEngine):
        return EngineMemory("transformers", once, size, size)
    cache, share = engine.cache_bytes(num_gpus), engine.gpu_share(num_gpus)
    again, most = "", size
    if isinstance(config, RunConfig):  # a collection only records
        again, most = ", and {}again by transformers in stages that compute likelihoods or gradients", 2 * size
    if cache is None:
        kept = f"{once} within the {share:.0%} of a GPU that vLLM keeps for them and its cache"
        return EngineMemory(_vllm(), kept + again.format(""), size, most, share)
    held = f"{once} and vLLM's cache {size_text(cache)}"
    return EngineMemory(_vllm(), held + again.format("the weights "), size + cache, most + cache)


def _vllm() -> str:
    version = None if os.environ.get("RAY_ADDRESS") else vllm_version()  # else the workers' is another
    return f"vllm {version}" if version else "vllm"
