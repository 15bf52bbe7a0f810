"""The probe conversations of a mask, recorded again on the pool: whether the model still routes as it did then."""

from collections.abc import Sequence
from dataclasses import dataclass

from mascing.errors import DataError, StorageError
from mascing.evidence.promoting.routing_drift import routing_drift, undecided_drift
from mascing.routers.spec import inspect_routers
from mascing.runs.publications.published_mask import PublishedMask
from mascing.runs.readers import conversations_of
from mascing.schemas.cards.scheduled_check import RoutingDrift
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import Prepared
from mascing.schemas.trace_layout import Chosen
from mascing.statistics.routing_shift import routing_shift
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.running.recording import recorded
from mascing.tasks.running.stage import steps
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from mascing.traces.probes import Probes
from mascing.traces.trace_set import SampleTrace

_ROWS = 16
_ROUTING = Chosen(spans=("question", "prompt"), keep="selected")


@dataclass(frozen=True)
class Measured:
    """The probes as they are now, None if they cannot be recorded, and what they say against those of the mask."""

    probes: Probes | None
    drift: RoutingDrift


def probe(storage: Storage, config: RunConfig, published: PublishedMask, min_shift: float, pool: Pool) -> Measured:
    """Record the mask's probes on the model of ``config``, without a mask. Never found: it is done anew each time."""
    before, card = published.probes, published.card
    if before is None or card.routing is None:
        return Measured(None, undecided_drift(f"{published.prefix} was published without probes: publish a mask anew"))
    try:
        prepared = read_manifest(storage, card.data["prepare"], Prepared)
        wanted = set(before.ids)
        rows = list(conversations_of(storage, prepared, "dev").where(lambda row: row.id in wanted))
    except (FileNotFoundError, KeyError, StorageError, DataError) as error:
        return Measured(None, undecided_drift(f"the conversations of its probes cannot be read ({error})"))
    pieces = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    recorded_pieces = pool.map(_record, config, pieces, steps("probe"), size=len)
    parts = [part for part in recorded_pieces if part is not None]
    if not parts:
        return Measured(None, undecided_drift("no conversation of its probes can be recorded"))
    now = Probes.joined(parts)
    if now.selected_PLE.shape[1:] != before.selected_PLE.shape[1:]:
        return Measured(now, undecided_drift("the model has other MoE layers or experts than the mask", "fail"))
    then = before.at(now.ids)
    selected = then.selected_PLE.numpy(), now.selected_PLE.numpy()
    tokens = then.tokens_P.numpy(), now.tokens_P.numpy()
    try:
        shift = routing_shift(*selected, *tokens, then.groups)
    except DataError as error:
        return Measured(now, undecided_drift(str(error)))
    rendered = int((then.tokens_P != now.tokens_P).sum())
    return Measured(now, routing_drift(shift, card.routing.layers, min_shift, len(now.ids), rendered))


def _record(worker: Worker, config: RunConfig, rows: Sequence[Conversation]) -> Probes | None:
    """The selections of each conversation, counted where they are recorded; None if no row can be recorded."""
    loaded = worker.model(config.model)
    traces = recorded(worker, loaded, config.harvest, rows, replies=False, chosen=_ROUTING, before={})
    samples = [trace for trace in traces if isinstance(trace, SampleTrace)]
    return Probes.of(samples, inspect_routers(loaded.model).n_experts) if samples else None
