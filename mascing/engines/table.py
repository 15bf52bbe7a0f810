"""The table of engines: each kind with the model of its options, its factory, and what it can do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mascing.engines.engine import Engine
from mascing.engines.installed import refuse_missing
from mascing.engines.openai.endpoint import endpoint
from mascing.engines.openai.endpoint_engine import EndpointEngine
from mascing.engines.transformers_engine import TransformersEngine
from mascing.engines.vllm_engine import vllm_engine
from mascing.errors import ConfigError
from mascing.models.loading import Loaded
from mascing.schemas.config import ModelConfig
from mascing.schemas.settings.engine_settings import EngineConfig
from mascing.schemas.settings.engine_settings import OpenAIEngine as OpenAIOptions
from mascing.schemas.settings.engine_settings import TransformersEngine as TransformersOptions
from mascing.schemas.settings.engine_settings import VllmEngine as VllmOptions
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class Place:
    """Where an engine works: what it runs, and the storage where an endpoint's answers are kept.

    ``loaded`` is a model of transformers; ``model`` says which model another engine loads, into ``num_gpus`` of a GPU.
    """

    loaded: Loaded | None = None
    storage: Storage | None = None
    model: ModelConfig | None = None
    num_gpus: float = 0


@dataclass(frozen=True)
class EngineKind:
    """A kind of engine.

    Raise ``version`` whenever the engine would give other replies to the same conversations, or they are stored in
    another way. ``determines`` are the options that do so; the others say how, when and for what price they are had.
    """

    config: type[BaseModel]
    factory: Callable[[Any, Place], Engine]
    version: int = 1
    steers: bool = True
    determines: tuple[str, ...] = ()


def make_engine(config: EngineConfig, place: Place) -> Engine:
    """Make the engine that the config describes. Raises ConfigError if it cannot work here."""
    return ENGINES[config.kind].factory(config, place)


def engine_identity(config: EngineConfig) -> dict[str, Any]:
    """All of the engine that determines its replies, as plain JSON values; no key, price or timeout."""
    kind = ENGINES[config.kind]
    return {"kind": config.kind, "version": kind.version, **config.model_dump(include=set(kind.determines))}


def _transformers(config: TransformersOptions, place: Place) -> Engine:
    if place.loaded is None:
        raise ConfigError("the engine `transformers` runs a model, and none is loaded here: name an endpoint instead")
    return TransformersEngine(place.loaded)


def _vllm(config: VllmOptions, place: Place) -> Engine:
    refuse_missing(config)
    if place.model is None:
        raise ConfigError("the engine `vllm` runs a model, and none is named here: name an endpoint instead")
    return vllm_engine(config, place.model, place.num_gpus)


def _openai(config: OpenAIOptions, place: Place) -> Engine:
    return EndpointEngine(endpoint(config, place.storage))


ENGINES: Mapping[str, EngineKind] = {
    "transformers": EngineKind(TransformersOptions, _transformers, version=2),
    "vllm": EngineKind(VllmOptions, _vllm, determines=("max_model_len",)),
    "openai": EngineKind(OpenAIOptions, _openai, steers=False, determines=("base_url", "model")),
}
