"""What a search on a worker is given: its item, and the material that all searches of the stage share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mascing.circuits.method import Material, Proposal
from mascing.circuits.methods import Search, searches_of
from mascing.errors import DataError
from mascing.masks import candidates as candidate_files
from mascing.runs.readers import sigma_of, spec_of, surrogates_of, traces_of
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Harvested, Trained
from mascing.schemas.settings.method_settings import Span
from mascing.storage.object_storage import Storage
from mascing.surrogates.device import own_device
from mascing.surrogates.surrogate import Surrogate
from mascing.tasks.searching.found import Found
from mascing.tasks.workers.worker import Worker

_ATTRIBUTED = ("gradient", "refined")


@dataclass(frozen=True)
class Shared:
    """What all items of the stage share.

    ``conversations`` are those of train that could be recorded, ``contrast`` those of them that methods learn from. The
    workers read both where they are stored.
    """

    config: RunConfig
    storage: Storage
    conversations: StoredConversations
    contrast: StoredConversations
    harvested: Harvested
    trained: Trained


@dataclass(frozen=True)
class Item:
    """One piece of the stage's work: a search with one search seed, or the attribution that comes with `gradient`.

    Items travel by name, so that a plugged method is resolved on the worker and fails there with a clear error.
    """

    name: str
    number: int = 0

    @property
    def file(self) -> str:
        """The name of its object."""
        return f"search-{self.name}-{self.number:02d}.parquet"

    def search(self, config: RunConfig) -> Search | None:
        """The search; None for the attribution."""
        return searches_of(config.methods).get(self.name)

    def methods(self, config: RunConfig) -> tuple[str, ...]:
        """The methods that cannot do without it: its own, or those that the attribution comes with."""
        searched = config.methods.searched
        return (self.name,) if self.name in searched else tuple(name for name in _ATTRIBUTED if name in searched)


def found_of(proposal: Proposal) -> Found:
    """The candidates of a search as they are stored."""
    data = candidate_files.to_bytes(proposal.candidates)
    return Found(data=data, rows=len(proposal.candidates), cost=proposal.cost, note=proposal.note)


def material_of(worker: Worker, shared: Shared) -> Material:
    """The training split, as a search on this worker reads it."""
    config = shared.config
    return Material(
        model=partial(worker.model, config.model),
        conversations=shared.conversations.here(),
        contrast=shared.contrast.here(),
        traces=traces_of(shared.storage, shared.harvested, "train"),
        spec=spec_of(shared.harvested),
        sigma_L=sigma_of(shared.harvested),
        surrogates=partial(_surrogates, shared),
        behaviour=config.behaviour,
        generation=config.generation,
        seed=config.seed,
        compute=config.compute,
    )


def _surrogates(shared: Shared, spans: tuple[Span, ...]) -> Mapping[Span, Sequence[Surrogate]]:
    """The ensembles of ``spans``, on this worker's device.

    Raises DataError for a span without one, which a search would take for a perfect one.
    """
    ensembles = surrogates_of(shared.storage, shared.trained, spans)
    untrained = [span for span, members in ensembles.items() if not members]
    if untrained:
        raise DataError(
            f"no surrogate was trained for the span {untrained[0]}: surrogates are trained for the spans of "
            "`methods.mascing` and `methods.consensus`, so turn one of them on with this span"
        )
    return {span: [member.to(own_device()) for member in members] for span, members in ensembles.items()}
