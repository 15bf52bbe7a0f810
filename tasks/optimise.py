"""The optimise stage: every method's grid of candidate masks, one item a method, on the pool."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mascing.circuits.active import search as active
from mascing.circuits.active.trials import LocalEngine
from mascing.circuits.gradient import attribution
from mascing.circuits.gradient import search as gradient
from mascing.circuits.steermoe import search as steermoe
from mascing.circuits.surrogate_search import search as mascing
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.progress import Event, tell
from mascing.schemas.config import RunConfig
from mascing.schemas.manifest import Manifest
from mascing.schemas.methods import MethodsConfig
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import sigma_of, spec_of, traces_of
from mascing.tasks.prepare import contrast_of, conversations_of
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.tasks.train import surrogates_of

ATTRIBUTION = "attribution.safetensors"

# So that no worker starts a long search when the others have nothing left to do.
_LONGEST_FIRST = (active.NAME, mascing.NAME, gradient.NAME, attribution.NAME, steermoe.NAME)


def optimise(
    storage: Storage, config: RunConfig, prepared: Manifest, harvested: Manifest, trained: Manifest, *, pool: Pool
) -> StageRun:
    """``candidates-<method>.safetensors`` for each method that is on; a row is a candidate.

    With `gradient` also ``attribution.safetensors``, its map of all L x E experts (a row is a layer). Facts: under
    `active`, its budget, the generations it took and its rounds; under `gradient` and `attribution`, the passes
    through the model that they took.
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
    return {_method_of(shard.name): shard.rows for shard in optimised.shards if shard.name != ATTRIBUTION}


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
    searches = list(_searched(config.methods))
    if gradient.NAME in searches:
        searches.append(attribution.NAME)
    shared = _Shared(config, storage, prepared, harvested, trained)
    in_turn = sorted(searches, key=_LONGEST_FIRST.index)
    done = dict(zip(in_turn, pool.map(_search, shared, in_turn, steps("optimise")), strict=True))
    found = {name: done[name] for name in searches}
    shards = [output.put(one.shard, one.data, one.rows) for one in found.values()]
    for one in found.values():
        if one.told:
            tell(Event("optimise", "note", text=one.told))
    facts = {name: one.facts for name, one in found.items() if one.facts}
    return Body(shards, rows_in=sum(shard.rows for shard in shards), facts=facts)


@dataclass(frozen=True)
class _Found:
    """What a search leaves: a shard, facts about the search, and a line about it for who watches."""

    shard: str
    data: bytes
    rows: int
    facts: dict[str, Any] = field(default_factory=dict)
    told: str = ""


def _search(worker: Worker, shared: _Shared, name: str) -> _Found:
    if name == active.NAME:
        return _search_by_trials(worker, shared)
    if name == gradient.NAME:
        return _search_by_gradient(worker, shared)
    if name == attribution.NAME:
        return _attribute(worker, shared)
    return _candidates(name, _search_traces(shared, name))


def _candidates(method: str, found: Sequence[Candidate], **said: Any) -> _Found:
    return _Found(_shard_name(method), candidate_files.to_bytes(found), len(found), **said)


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
    facts, told = found.facts(config.methods.active), found.told(config.methods.active)
    return _candidates(active.NAME, found.candidates, facts=facts, told=told)


def _search_by_gradient(worker: Worker, shared: _Shared) -> _Found:
    config = shared.config
    assert config.methods.gradient is not None
    conversations = conversations_of(shared.storage, shared.prepared, "train")
    found, passes = gradient.candidates(
        worker.model(config.model),
        spec_of(shared.harvested),
        contrast_of(conversations),
        [one for one in conversations if one.set != "target" and one.wanted is not None],
        sigma_of(shared.harvested),
        config.methods.gradient,
        config.seed,
        recompute=config.compute.gradient_checkpointing,
    )
    return _candidates(gradient.NAME, found, facts=asdict(passes), told=f"{gradient.NAME}: {passes}")


def _attribute(worker: Worker, shared: _Shared) -> _Found:
    config = shared.config
    assert config.methods.gradient is not None
    found = attribution.attribution(
        worker.model(config.model),
        contrast_of(conversations_of(shared.storage, shared.prepared, "train")),
        sigma_of(shared.harvested),
        config.methods.gradient.batch_size,
        recompute=config.compute.gradient_checkpointing,
    )
    data, passes = attribution.to_bytes(found), found.passes
    return _Found(ATTRIBUTION, data, len(found.effect_LE), asdict(passes), f"{attribution.NAME}: {passes}")


def _search_traces(shared: _Shared, method: str) -> list[Candidate]:
    methods, spec = shared.config.methods, spec_of(shared.harvested)
    traces = traces_of(shared.storage, shared.harvested, "train")
    if method == steermoe.NAME:
        assert methods.steermoe is not None
        return steermoe.candidates(traces, spec, methods.steermoe)
    assert methods.mascing is not None
    surrogates = surrogates_of(shared.storage, shared.trained, methods.mascing.spans)
    return mascing.candidates(surrogates, traces, spec, sigma_of(shared.harvested), methods.mascing, shared.config.seed)


def _shard_name(method: str) -> str:
    return f"candidates-{method}.safetensors"


def _method_of(shard_name: str) -> str:
    return shard_name.removeprefix("candidates-").removesuffix(".safetensors")
