"""The audit stage measures on the test split how far a safety behaviour falls as its experts are suppressed.

It stores rates only, an object for each mask. The worker that generates replies judges and drops them; masks and the
ranking of experts stay in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.circuits.gradient.removal import removal_order
from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.conversations.reply import Reply
from mascing.engines.engine import Turn
from mascing.errors import DataError
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.masks.suppression import Place, suppressing, suppression_order
from mascing.models.checkpoints import model_name
from mascing.models.loading import Loaded
from mascing.progress import Event, tell
from mascing.report import build_index, build_report
from mascing.routers.spec import find_routers
from mascing.runs.finished_run import write_record
from mascing.runs.readers import conversations_of, sigma_of, spec_of, traces_of, unsteered_outcomes
from mascing.runs.run_folder import RunFolder, run_folder
from mascing.runs.stored_conversations import Located, StoredConversations
from mascing.runs.table_parts import PART_ROWS
from mascing.schemas.base import Frozen
from mascing.schemas.cards.suppression_curve import Audit, AuditPoint
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import AuditFacts
from mascing.schemas.finished import Audited, Harvested, Labelled
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.storage.manifests import StageOutput, shard_of
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json
from mascing.tasks.concluding.kept_config import keep_config
from mascing.tasks.replying.replies import generated
from mascing.tasks.running.identity import engine_part, judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps
from mascing.tasks.running.stored_items import stored_items
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

_RANKED_AT_ONCE = 24  # conversations per backward pass of the ranking

Outcomes = dict[str, Outcome]
"""The outcome of each conversation, by its id."""


def audit(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, *, pool: Pool
) -> Finished[Audited]:
    """Measure the suppression curve, which is the stage's facts; its objects are the rates under each mask."""
    shared = _Shared(config, storage, labelled, harvested)
    return run_stage(storage, recipe(config, labelled, harvested), lambda output: _audit(output, shared, pool))


def recipe(config: RunConfig, labelled: Placed, harvested: Placed) -> Recipe[Audited]:
    """The recipe that identifies the curve; it holds the model's name because the curve does."""
    identity = {
        **judged_replies_identity(config),
        **engine_part(config),
        "audit": config.audit,
        "model": model_name(config.model),
        "seed": config.seed,
    }
    return Recipe(Audited, config.behaviour.name, identity, {"label": labelled, "harvest": harvested})


def write_audit(storage: Storage, config: RunConfig, audited: Audited) -> RunFolder:
    """Write `audit.json`, `run.yaml` and page into a folder of the audit's own, and the index; returns the folder."""
    curve = audited.facts.audit
    folder = run_folder(curve.behaviour, curve.model, audited.fingerprint)
    keep_config(storage, folder, config)
    write_record(storage, folder.audit, curve)
    build_report(storage, folder.name)
    build_index(storage)
    tell(Event("audit", "written"))
    return folder


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    labelled: Labelled
    harvested: Harvested


@dataclass(frozen=True)
class _Item:
    mask: Mask
    conversations: StoredConversations


class _Measured(Frozen):
    """The rates under a mask by set, and their paired changes against the unsteered model."""

    rates: dict[str, Rate]
    changes: dict[str, Rate]


def _audit(output: StageOutput[Audited], shared: _Shared, pool: Pool) -> Body:
    config, settings, spec = shared.config, shared.config.audit, spec_of(shared.harvested)
    [[ranked, *drawn]] = pool.map(_orders, shared, [None], lambda done, total: None)
    conversations, audited = _test_conversations(shared)
    points = list(enumerate(settings.n_suppressed))
    items = {f"rates-{point:03d}.json": _Item(suppressing(ranked, n, spec), conversations) for point, n in points}
    items |= {
        f"rates-{point:03d}-random-{draw:03d}.json": _Item(suppressing(order, n, spec), audited)
        for point, n in points
        for draw, order in enumerate(drawn)
    }
    stored = stored_items(pool, output, _measure, shared, items, steps("audit"))
    measured = (_Measured.model_validate_json(open_json(data, name)) for name, data in stored.items())
    suppressed = [next(measured) for _ in points]
    at_random = [[next(measured) for _ in drawn] for _ in points]
    unsteered = _outcomes(shared)
    curve = Audit(
        model=model_name(config.model),
        behaviour=config.behaviour.name,
        set=settings.set,
        ranking=settings.ranking,
        experts=spec.n_layers * spec.n_experts,
        baseline=_rates(conversations.located(), unsteered),
        points=tuple(
            AuditPoint(
                n=n,
                rates=of_mask.rates,
                changes=of_mask.changes,
                random=tuple(draw.rates[settings.set] for draw in draws),
            )
            for n, of_mask, draws in zip(settings.n_suppressed, suppressed, at_random, strict=True)
        ),
    )
    shards = [shard_of(name, data, rows=0) for name, data in stored.items()]
    return Body(shards, AuditFacts(audit=curve), rows_in=0)


def _outcomes(shared: _Shared) -> Outcomes:
    """The outcomes of the unsteered model on the test split."""
    rows = unsteered_outcomes(shared.storage, shared.labelled, "test").to_pylist()
    return {row["conversation_id"]: row["outcome"] for row in rows}


def _test_conversations(shared: _Shared) -> tuple[StoredConversations, StoredConversations]:
    """All conversations of the test split, and those of the audited set."""
    conversations = conversations_of(shared.storage, shared.labelled, "test")
    name = shared.config.audit.set
    audited = conversations.where(lambda row: row.set == name)
    if not len(audited):
        raise DataError(f"the test split has no conversation of {name}: correct audit.set, or add conversations to it")
    return conversations, audited


def _orders(worker: Worker, shared: _Shared, _: None) -> list[list[Place]]:
    """The experts in the order of the ranking, then in as many random orders as the audit draws."""
    config = shared.config
    loaded = worker.model(config.model)
    routers, spec = find_routers(loaded.model), spec_of(shared.harvested)
    generator = torch.Generator().manual_seed(config.seed)
    drawn = [torch.rand(spec.n_layers, spec.n_experts, generator=generator) for _ in range(config.audit.random_draws)]
    by_risk = config.audit.ranking == "risk_difference"
    ranked = suppression_order(_risk_difference(shared), routers) if by_risk else _by_attribution(shared, loaded)
    return [ranked, *(suppression_order(score_LE, routers) for score_LE in drawn)]


def _risk_difference(shared: _Shared) -> Tensor:
    """How much more often each expert is selected in positive than in negative training traces, [L, E]."""
    traces = traces_of(shared.storage, shared.harvested, "train")
    return count_selections(traces).risk_difference()


def _by_attribution(shared: _Shared, loaded: Loaded) -> list[Place]:
    """The experts by the attributed effect of taking them from the audited set."""
    config = shared.config
    conversations = conversations_of(shared.storage, shared.labelled, "train")
    audited = conversations.where(lambda row: row.set == config.audit.set).here()
    most = max(config.audit.n_suppressed)
    return removal_order(loaded, audited, sigma_of(shared.harvested), _RANKED_AT_ONCE, config.compute, most)


def _measure(worker: Worker, shared: _Shared, item: _Item) -> bytes:
    """The rates under the mask of the item; the replies are dropped here."""
    outcomes = Outcomes()
    for start in range(0, len(item.conversations), PART_ROWS):
        rows = [*item.conversations[start : start + PART_ROWS]]
        replies = generated(worker, shared.config, [Turn(row, item.mask) for row in rows])
        spoken = [(row, reply) for row, reply in zip(rows, replies, strict=True) if isinstance(reply, Reply)]
        asked, said = [row for row, _ in spoken], [reply for _, reply in spoken]
        verdicts = judge_all(shared.config.behaviour, asked, said, shared.storage)
        outcomes |= {row.id: "unscored" for row in rows}
        outcomes |= {row.id: verdict.outcome for (row, _), verdict in zip(spoken, verdicts, strict=True)}
    located = item.conversations.located()
    measured = _Measured(rates=_rates(located, outcomes), changes=_changes(located, _outcomes(shared), outcomes))
    return seal_json(measured.model_dump_json(indent=1))


def _rates(conversations: Sequence[Located], outcomes: Outcomes) -> dict[str, Rate]:
    return {
        name: rate([outcomes[row.id] for row in rows], [row.group_id for row in rows])
        for name, rows in _by_set(conversations).items()
    }


def _changes(conversations: Sequence[Located], before: Outcomes, after: Outcomes) -> dict[str, Rate]:
    return {
        name: paired_difference(
            [before[row.id] for row in rows], [after[row.id] for row in rows], [row.group_id for row in rows]
        )
        for name, rows in _by_set(conversations).items()
    }


def _by_set(conversations: Sequence[Located]) -> Mapping[str, list[Located]]:
    sets: dict[str, list[Located]] = {}
    for conversation in conversations:
        sets.setdefault(conversation.set, []).append(conversation)
    return sets
