"""The optimise stage: every method's grid of candidate masks, one item a method, on the pool."""

from dataclasses import dataclass, field
from typing import Any

from mascing.circuits import active, gradient, mascing, steermoe
from mascing.circuits import candidates as candidate_files
from mascing.circuits.candidates import Candidate
from mascing.progress import Event, tell
from mascing.stages import StageOutput, read_shard
from mascing.storage import Storage
from mascing.trials import LocalEngine
from schemas.config import MethodsConfig, RunConfig
from schemas.manifest import Manifest
from tasks.actors import Pool, Worker
from tasks.harvest import sigma_of, spec_of, traces_of
from tasks.prepare import contrast_of, conversations_of
from tasks.stage import Body, StageRun, run_stage, steps
from tasks.train import surrogates_of


def optimise(
    storage: Storage, config: RunConfig, prepared: Manifest, harvested: Manifest, trained: Manifest, *, pool: Pool
) -> StageRun:
    """``candidates-<method>.safetensors`` for each method that is on; a row is a candidate.

    Facts: under `active`, its budget, the generations it took and its rounds.
    """
    return run_stage(
        storage,
        "optimise",
        config.behaviour.name,
        identity={
            "methods": _searched(config.methods),
            "seed": config.seed,
            "trials": _trials(config) if config.methods.active else None,
        },
        inputs={"prepare": prepared, "harvest": harvested, "train": trained},
        body=lambda output: _optimise(output, storage, config, prepared, harvested, trained, pool),
    )


def methods_of(optimised: Manifest) -> dict[str, int]:
    """The searched methods and how many candidates each has."""
    return {_method_of(shard.name): shard.rows for shard in optimised.shards}


def candidates_of(storage: Storage, optimised: Manifest, method: str) -> list[Candidate]:
    """All candidates of a method, in the order of its grid."""
    return candidate_files.from_bytes(read_shard(storage, optimised, _shard_name(method)))


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    prepared: Manifest
    harvested: Manifest
    trained: Manifest


def _searched(methods: MethodsConfig) -> dict[str, Any]:
    found = {
        mascing.NAME: methods.mascing,
        steermoe.NAME: methods.steermoe,
        gradient.NAME: methods.gradient,
        active.NAME: methods.active,
    }
    return {name: config for name, config in found.items() if config is not None}


def _trials(config: RunConfig) -> dict[str, Any]:
    """What the trials of `active` depend on beyond its own settings."""
    return {
        "judges": [config.behaviour.target, config.behaviour.utility, config.behaviour.protected],
        "max_new_tokens": config.generation.max_new_tokens,
    }


def _optimise(
    output: StageOutput,
    storage: Storage,
    config: RunConfig,
    prepared: Manifest,
    harvested: Manifest,
    trained: Manifest,
    pool: Pool,
) -> Body:
    methods = list(_searched(config.methods))
    shared = _Shared(config, storage, prepared, harvested, trained)
    found = pool.map(_search, shared, methods, steps("optimise"))
    shards = [
        output.put(_shard_name(method), candidate_files.to_bytes(one.candidates), len(one.candidates))
        for method, one in zip(methods, found, strict=True)
    ]
    for one in found:
        if one.told:
            tell(Event("optimise", "note", text=one.told))
    facts = {method: one.facts for method, one in zip(methods, found, strict=True) if one.facts}
    return Body(shards, rows_in=sum(shard.rows for shard in shards), facts=facts)


@dataclass(frozen=True)
class _Found:
    """A method's candidates, facts about its search, and a line about it for who watches."""

    candidates: list[Candidate]
    facts: dict[str, Any] = field(default_factory=dict)
    told: str = ""


def _search(worker: Worker, shared: _Shared, method: str) -> _Found:
    if method == active.NAME:
        return _search_by_trials(worker, shared)
    return _Found(_search_once(worker, shared, method))


def _search_by_trials(worker: Worker, shared: _Shared) -> _Found:
    config, harvested = shared.config, shared.harvested
    assert config.methods.active is not None
    found = active.candidates(
        LocalEngine(worker.model(config.model), config.behaviour, config.generation),
        traces_of(shared.storage, harvested, "train"),
        conversations_of(shared.storage, shared.prepared, "train"),
        spec_of(harvested),
        sigma_of(harvested),
        config.methods.active,
        config.seed,
    )
    return _Found(found.candidates, found.facts(config.methods.active), found.told(config.methods.active))


def _search_once(worker: Worker, shared: _Shared, method: str) -> list[Candidate]:
    storage, config, harvested = shared.storage, shared.config, shared.harvested
    spec = spec_of(harvested)
    if method == gradient.NAME:
        assert config.methods.gradient is not None
        conversations = conversations_of(storage, shared.prepared, "train")
        kept = [one for one in conversations if one.set != "target" and one.wanted is not None]
        loaded, sigma = worker.model(config.model), sigma_of(harvested)
        contrast = contrast_of(conversations)
        return gradient.candidates(loaded, spec, contrast, kept, sigma, config.methods.gradient, config.seed)
    traces = traces_of(storage, harvested, "train")
    if method == steermoe.NAME:
        assert config.methods.steermoe is not None
        return steermoe.candidates(traces, spec, config.methods.steermoe)
    assert config.methods.mascing is not None
    surrogates = surrogates_of(storage, shared.trained, config.methods.mascing.spans)
    return mascing.candidates(surrogates, traces, spec, sigma_of(harvested), config.methods.mascing, config.seed)


def _shard_name(method: str) -> str:
    return f"candidates-{method}.safetensors"


def _method_of(shard_name: str) -> str:
    return shard_name.removeprefix("candidates-").removesuffix(".safetensors")
