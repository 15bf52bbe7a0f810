"""The optimise stage: every method's grid of candidate masks, one item a method, on the pool."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from mascing.circuits.gradient import attribution
from mascing.circuits.gradient.method import passes_of
from mascing.circuits.method import Material
from mascing.circuits.methods import Search, method_identity, searches_of
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.progress import Event, tell
from mascing.schemas.config import RunConfig
from mascing.schemas.manifest import Manifest
from mascing.schemas.methods import GradientConfig
from mascing.schemas.search_cost import SearchCost
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import sigma_of, spec_of, traces_of
from mascing.tasks.prepare import contrast_of, conversations_of
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.tasks.train import surrogates_of

ATTRIBUTION = "attribution.safetensors"


def optimise(
    storage: Storage, config: RunConfig, prepared: Manifest, harvested: Manifest, trained: Manifest, *, pool: Pool
) -> StageRun:
    """``candidates-<method>.safetensors`` for each method that is on; a row is a candidate.

    With `gradient` also ``attribution.safetensors``, its map of all L x E experts (a row is a layer). Facts: the cost
    of each search, where it has any.
    """
    return run_stage(
        storage,
        "optimise",
        config.behaviour.name,
        identity={
            **method_identity(config.methods),
            "seed": config.seed,
            "trials": _trials(config),
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


def _trials(config: RunConfig) -> dict[str, Any] | None:
    """What the searches that judge replies of their own depend on beyond their settings; None if none does."""
    if not any(search.method.judges for search in searches_of(config.methods).values()):
        return None
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
    shared = _Shared(config, storage, prepared, harvested, trained)
    items = _items(config)
    # So that no worker starts a long search when the others have nothing left to do.
    in_turn = sorted(items, key=lambda name: items[name].rank, reverse=True)
    done = dict(zip(in_turn, pool.map(_run, shared, in_turn, steps("optimise")), strict=True))
    results = {name: done[name] for name in items}
    shards = [output.put(result.shard, result.data, result.rows) for result in results.values()]
    for result in results.values():
        if result.note:
            tell(Event("optimise", "note", text=result.note))
    facts = {
        name: result.cost.model_dump(mode="json", exclude_none=True)
        for name, result in results.items()
        if result.cost != SearchCost()
    }
    return Body(shards, rows_in=sum(shard.rows for shard in shards), facts=facts)


@dataclass(frozen=True)
class _Result:
    """What an item leaves: a shard, the cost of the search, and a line about it for who watches."""

    shard: str
    data: bytes
    rows: int
    cost: SearchCost
    note: str


class _Item(Protocol):
    """One piece of the stage's work, the higher ``rank`` started first."""

    @property
    def rank(self) -> int: ...

    def __call__(self, material: Material) -> _Result: ...


@dataclass(frozen=True)
class _Candidates:
    """The grid of one method."""

    search: Search

    @property
    def rank(self) -> int:
        return self.search.method.rank

    def __call__(self, material: Material) -> _Result:
        proposal = self.search(material)
        data = candidate_files.to_bytes(proposal.candidates)
        return _Result(_shard_name(self.search.name), data, len(proposal.candidates), proposal.cost, proposal.note)


@dataclass(frozen=True)
class _Attribution:
    """The map of all experts that comes with `gradient`."""

    config: GradientConfig
    rank: int = 1

    def __call__(self, material: Material) -> _Result:
        found = attribution.attribution(
            material.model(),
            material.contrast,
            material.sigma_L,
            self.config.batch_size,
            recompute=material.recompute,
        )
        passes = passes_of(found.passes, material.recompute)
        data, rows = attribution.to_bytes(found), len(found.effect_LE)
        return _Result(ATTRIBUTION, data, rows, SearchCost(passes=passes), f"{attribution.NAME}: {passes}")


def _items(config: RunConfig) -> dict[str, _Item]:
    """All that the stage has to do, by name."""
    items: dict[str, _Item] = {name: _Candidates(search) for name, search in searches_of(config.methods).items()}
    if config.methods.gradient is not None:
        items[attribution.NAME] = _Attribution(config.methods.gradient)
    return items


def _run(worker: Worker, shared: _Shared, name: str) -> _Result:
    # By its name, so that a method of the user's own is resolved where it runs, with an error that says so.
    return _items(shared.config)[name](_material(worker, shared))


def _material(worker: Worker, shared: _Shared) -> Material:
    config = shared.config
    conversations = conversations_of(shared.storage, shared.prepared, "train")
    return Material(
        model=partial(worker.model, config.model),
        conversations=conversations,
        contrast=contrast_of(conversations),
        traces=traces_of(shared.storage, shared.harvested, "train"),
        spec=spec_of(shared.harvested),
        sigma_L=sigma_of(shared.harvested),
        surrogates=partial(surrogates_of, shared.storage, shared.trained),
        behaviour=config.behaviour,
        generation=config.generation,
        seed=config.seed,
        recompute=config.compute.gradient_checkpointing,
    )


def _shard_name(method: str) -> str:
    return f"candidates-{method}.safetensors"


def _method_of(shard_name: str) -> str:
    return shard_name.removeprefix("candidates-").removesuffix(".safetensors")
