"""The optimise stage: every method's grid of candidate masks, one item a method, on the pool."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from mascing.runs.files import ATTRIBUTION, candidates_file
from mascing.runs.readers import contrast_of, conversations_of, sigma_of, spec_of, surrogates_of, traces_of
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import OptimiseFacts
from mascing.schemas.finished import Harvested, Optimised, Prepared, Trained
from mascing.schemas.methods import MethodsConfig
from mascing.schemas.search_cost import Passes, SearchCost, Trials
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps

# So that no worker starts a long search when the others have nothing left to do.
_LONGEST_FIRST = (active.NAME, mascing.NAME, gradient.NAME, attribution.NAME, steermoe.NAME)


def optimise(
    storage: Storage, config: RunConfig, prepared: Prepared, harvested: Harvested, trained: Trained, *, pool: Pool
) -> Finished[Optimised]:
    """``candidates-<method>.safetensors`` for each method that is on; a row is a candidate.

    With `gradient` also ``attribution.safetensors``, its map of all L x E experts (a row is a layer).
    """
    return run_stage(
        storage,
        recipe(config, prepared, harvested, trained),
        lambda output: _optimise(output, _Shared(config, storage, prepared, harvested, trained), pool),
    )


def recipe(config: RunConfig, prepared: Placed, harvested: Placed, trained: Placed) -> Recipe[Optimised]:
    """What identifies the candidates: `active` alone has replies judged, so only with it do they depend on those."""
    identity = {
        "methods": _searched(config.methods),
        "seed": config.seed,
        "trials": judged_replies_identity(config) if config.methods.active else None,
    }
    inputs = {"prepare": prepared, "harvest": harvested, "train": trained}
    return Recipe(Optimised, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    prepared: Prepared
    harvested: Harvested
    trained: Trained


def _searched(methods: MethodsConfig) -> dict[str, Any]:
    found = {
        mascing.NAME: methods.mascing,
        steermoe.NAME: methods.steermoe,
        gradient.NAME: methods.gradient,
        active.NAME: methods.active,
    }
    return {name: config for name, config in found.items() if config is not None}


def _optimise(output: StageOutput[Optimised], shared: _Shared, pool: Pool) -> Body:
    searches = list(_searched(shared.config.methods))
    if gradient.NAME in searches:
        searches.append(attribution.NAME)
    in_turn = sorted(searches, key=_LONGEST_FIRST.index)
    found = dict(zip(in_turn, pool.map(_search, shared, in_turn, steps("optimise")), strict=True))
    shards = [output.put(found[name].shard, found[name].data, found[name].rows) for name in searches]
    for name in searches:
        if found[name].note:
            tell(Event("optimise", "note", text=found[name].note))
    facts = OptimiseFacts(
        candidates={name: found[name].rows for name in sorted(_searched(shared.config.methods))},
        costs={name: found[name].cost for name in sorted(found) if found[name].cost != SearchCost()},
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


@dataclass(frozen=True)
class _Found:
    """What a search leaves: a shard, its cost, and a line about it for who watches."""

    shard: str
    data: bytes
    rows: int
    cost: SearchCost
    note: str


def _search(worker: Worker, shared: _Shared, name: str) -> _Found:
    if name == active.NAME:
        return _search_by_trials(worker, shared)
    if name == gradient.NAME:
        return _search_by_gradient(worker, shared)
    if name == attribution.NAME:
        return _attribute(worker, shared)
    return _candidates(name, _search_traces(shared, name), SearchCost(), "")


def _candidates(method: str, found: Sequence[Candidate], cost: SearchCost, note: str) -> _Found:
    return _Found(candidates_file(method), candidate_files.to_bytes(found), len(found), cost, note)


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
    cost = SearchCost(trials=Trials.model_validate(found.facts(config.methods.active)))
    return _candidates(active.NAME, found.candidates, cost, found.told(config.methods.active))


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
    cost = SearchCost(passes=Passes(**asdict(passes)))
    return _candidates(gradient.NAME, found, cost, f"{gradient.NAME}: {passes}")


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
    cost = SearchCost(passes=Passes(**asdict(passes)))
    return _Found(ATTRIBUTION, data, len(found.effect_LE), cost, f"{attribution.NAME}: {passes}")


def _search_traces(shared: _Shared, method: str) -> list[Candidate]:
    methods, spec = shared.config.methods, spec_of(shared.harvested)
    traces = traces_of(shared.storage, shared.harvested, "train")
    if method == steermoe.NAME:
        assert methods.steermoe is not None
        return steermoe.candidates(traces, spec, methods.steermoe)
    assert methods.mascing is not None
    surrogates = surrogates_of(shared.storage, shared.trained, methods.mascing.spans)
    return mascing.candidates(surrogates, traces, spec, sigma_of(shared.harvested), methods.mascing, shared.config.seed)
