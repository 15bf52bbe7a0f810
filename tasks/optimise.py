"""The optimise stage searches grids of candidate masks on the pool, one item per method and search seed."""

from collections.abc import Sequence

from mascing.circuits.gradient import attribution
from mascing.circuits.method import Material, Proposal
from mascing.circuits.methods import method_identity, searches_of, together
from mascing.masks import candidates as candidate_files
from mascing.progress import Event, tell
from mascing.runs.files import ATTRIBUTION, candidates_file
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import OptimiseFacts
from mascing.schemas.finished import Harvested, Labelled, Optimised, Trained
from mascing.schemas.settings.method_settings import GradientConfig
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import StageOutput, shard_of
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.searching.found import Found
from mascing.tasks.searching.items import Item, Shared, found_of, material_of
from mascing.tasks.searching.rounds import search_all
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

_ATTRIBUTION_RANK = 1


def optimise(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, trained: Trained, *, pool: Pool
) -> Finished[Optimised]:
    """Write ``candidates-<method>.safetensors`` for each enabled method; a row is a candidate.

    `gradient` also writes ``attribution.safetensors``, its map of all L x E experts; a row is a layer.
    """
    failed = set(harvested.facts.quarantined)
    conversations = conversations_of(storage, labelled, "train").where(lambda row: row.id not in failed)
    read = Part(labelled, fingerprint(Streamed(conversations)))
    return run_stage(
        storage,
        recipe(config, read, harvested, trained),
        lambda output: _optimise(
            output, Shared(config, storage, conversations, contrast_of(conversations), harvested, trained), pool
        ),
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


def _optimise(output: StageOutput[Optimised], shared: Shared, pool: Pool) -> Body:
    items = {item.file: item for item in _items(shared.config)}
    made = search_all(pool, output, _run, shared, list(items.values()), steps("optimise"))
    results = {items[name]: Found.from_bytes(data, name) for name, data in made.items()}
    files = {
        name: _together([result for item, result in results.items() if item.name == name])
        for name in searches_of(shared.config.methods)
    }
    files |= {item.name: result for item, result in results.items() if item.name == attribution.NAME}
    for file in files.values():
        if file.note:
            tell(Event("optimise", "note", text=file.note))
    shards = [output.put(_file_of(name), file.data, file.rows) for name, file in files.items()]
    shards += [shard_of(name, data, rows=0) for name, data in made.items()]
    facts = OptimiseFacts(
        candidates={name: files[name].rows for name in sorted(files) if name != attribution.NAME},
        costs={name: file.cost for name, file in files.items() if file.cost != SearchCost()},
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


def _file_of(name: str) -> str:
    return ATTRIBUTION if name == attribution.NAME else candidates_file(name)


def _together(found: Sequence[Found]) -> Found:
    """The candidates of all search seeds of a method."""
    proposals = [Proposal(candidate_files.from_bytes(one.data), one.cost, one.note) for one in found]
    return found_of(together(proposals))


def _items(config: RunConfig) -> list[Item]:
    """All items of the stage. Long searches come first, so that the pool does not wait for one that started last."""
    searches, members = searches_of(config.methods), config.surrogate.members
    ranks = {
        Item(name, number): search.method.rank
        for name, search in searches.items()
        for number in range(search.seeds(members))
    }
    if _descending(config) is not None:
        ranks[Item(attribution.NAME)] = _ATTRIBUTION_RANK
    return sorted(ranks, key=ranks.__getitem__, reverse=True)


def _run(worker: Worker, shared: Shared, item: Item) -> bytes:
    material, search = material_of(worker, shared), item.search(shared.config)
    if search is None:
        return _attribution(material, _descending(shared.config)).to_bytes()
    return found_of(search(material, item.number, search.seeds(shared.config.surrogate.members))).to_bytes()


def _descending(config: RunConfig) -> GradientConfig | None:
    """The settings of the method that descends on the model, None if there is none."""
    return config.methods.gradient or config.methods.refined


def _attribution(material: Material, config: GradientConfig | None) -> Found:
    """The map of all experts that comes with `gradient` and `refined`."""
    assert config is not None  # there is no such item without the method
    attributed = attribution.attribution(
        material.model(), material.contrast, material.sigma_L, config.batch_size, material.compute
    )
    data, rows = attribution.to_bytes(attributed), len(attributed.effect_LE)
    note = f"{attribution.NAME}: {attributed.passes}" + (f"; {attributed.memory}" if attributed.memory else "")
    return Found(data=data, rows=rows, cost=SearchCost(passes=attributed.passes), note=note)
