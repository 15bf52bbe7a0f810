"""The optimise stage searches each method's grid of candidate masks on the pool, one item per method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mascing.circuits.gradient import attribution
from mascing.circuits.method import Material
from mascing.circuits.methods import Search, method_identity, searches_of
from mascing.errors import DataError
from mascing.masks import candidates as candidate_files
from mascing.progress import Event, tell
from mascing.runs.files import ATTRIBUTION, candidates_file
from mascing.runs.readers import contrast_of, conversations_of, sigma_of, spec_of, surrogates_of, traces_of
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import OptimiseFacts
from mascing.schemas.finished import Harvested, Labelled, Optimised, Trained
from mascing.schemas.settings.method_settings import GradientConfig, Span
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.surrogates.surrogate import Surrogate
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps


def optimise(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, trained: Trained, *, pool: Pool
) -> Finished[Optimised]:
    """Write ``candidates-<method>.safetensors`` for each enabled method; a row is a candidate.

    `gradient` also writes ``attribution.safetensors``, its map of all L x E experts; a row is a layer.
    """
    rows = conversations_of(storage, labelled, "train")
    conversations = [row for row in rows if row.id not in set(harvested.facts.quarantined)]
    read = Part(labelled, fingerprint(conversations))
    return run_stage(
        storage,
        recipe(config, read, harvested, trained),
        lambda output: _optimise(output, _Shared(config, storage, conversations, harvested, trained), pool),
    )


def recipe(config: RunConfig, labelled: Placed, harvested: Placed, trained: Placed) -> Recipe[Optimised]:
    """The recipe that identifies the candidates, with judges and generation if a search has replies judged."""
    judging = any(search.method.judges for search in searches_of(config.methods).values())
    identity = {
        **method_identity(config.methods),
        "seed": config.seed,
        "trials": judged_replies_identity(config) if judging else None,
    }
    inputs = {"label": labelled, "harvest": harvested, "train": trained}
    return Recipe(Optimised, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    conversations: Sequence[Conversation]  # of the train split, without those that could not be recorded
    harvested: Harvested
    trained: Trained


def _optimise(output: StageOutput[Optimised], shared: _Shared, pool: Pool) -> Body:
    items = _items(shared.config)
    # Long searches start first, so that the pool does not wait for one that started last.
    longest_first = sorted(items, key=lambda name: items[name].rank, reverse=True)
    by_name = dict(zip(longest_first, pool.map(_run, shared, longest_first, steps("optimise")), strict=True))
    results = {name: by_name[name] for name in items}
    for result in results.values():
        if result.note:
            tell(Event("optimise", "note", text=result.note))
    shards = [output.put(result.shard, result.data, result.rows) for result in results.values()]
    facts = OptimiseFacts(
        candidates={name: results[name].rows for name in sorted(searches_of(shared.config.methods))},
        costs={name: result.cost for name, result in results.items() if result.cost != SearchCost()},
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


@dataclass(frozen=True)
class _Result:
    """The output of an item: a shard, the cost of the search, and a note for the progress display."""

    shard: str
    data: bytes
    rows: int
    cost: SearchCost
    note: str


class _Item(Protocol):
    """One piece of the stage's work; items of higher ``rank`` start first."""

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
        return _Result(candidates_file(self.search.name), data, len(proposal.candidates), proposal.cost, proposal.note)


@dataclass(frozen=True)
class _Attribution:
    """The map of all experts that comes with `gradient`."""

    config: GradientConfig
    rank: int = 1

    def __call__(self, material: Material) -> _Result:
        attributed = attribution.attribution(
            material.model(),
            material.contrast,
            material.sigma_L,
            self.config.batch_size,
            recompute=material.recompute,
        )
        data, rows = attribution.to_bytes(attributed), len(attributed.effect_LE)
        note = f"{attribution.NAME}: {attributed.passes}"
        return _Result(ATTRIBUTION, data, rows, SearchCost(passes=attributed.passes), note)


def _items(config: RunConfig) -> dict[str, _Item]:
    """All items of the stage by name."""
    items: dict[str, _Item] = {name: _Candidates(search) for name, search in searches_of(config.methods).items()}
    if config.methods.gradient is not None:
        items[attribution.NAME] = _Attribution(config.methods.gradient)
    return items


def _run(worker: Worker, shared: _Shared, name: str) -> _Result:
    # Items travel by name, so that a plugged method is resolved on the worker and fails there with a clear error.
    return _items(shared.config)[name](_material(worker, shared))


def _surrogates(shared: _Shared, spans: tuple[Span, ...]) -> Mapping[Span, Sequence[Surrogate]]:
    """The ensembles of ``spans``; DataError for a span without one, which a search would take for a perfect one."""
    ensembles = surrogates_of(shared.storage, shared.trained, spans)
    untrained = [span for span, members in ensembles.items() if not members]
    if untrained:
        raise DataError(
            f"no surrogate was trained for the span {untrained[0]}: surrogates are trained for the spans of "
            "`methods.mascing`, so turn it on with this span"
        )
    return ensembles


def _material(worker: Worker, shared: _Shared) -> Material:
    config = shared.config
    return Material(
        model=partial(worker.model, config.model),
        conversations=shared.conversations,
        contrast=contrast_of(shared.conversations),
        traces=traces_of(shared.storage, shared.harvested, "train"),
        spec=spec_of(shared.harvested),
        sigma_L=sigma_of(shared.harvested),
        surrogates=partial(_surrogates, shared),
        behaviour=config.behaviour,
        generation=config.generation,
        seed=config.seed,
        recompute=config.compute.gradient_checkpointing,
    )
