"""The audit stage measures on the test split how far a safety behaviour falls as its experts are suppressed.

It stores rates only. The worker that generates replies judges and drops them; masks and the ranking of experts stay in
memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.circuits.gradient.attribution import attribution
from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.engines.generation import complete, prompts_of
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
from mascing.schemas.cards.suppression_curve import Audit, AuditPoint
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import AuditFacts
from mascing.schemas.finished import Audited, Harvested, Labelled
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.storage.object_storage import Storage
from mascing.tasks.concluding.kept_config import keep_config
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

_RANKED_AT_ONCE = 24  # conversations per backward pass of the ranking

Outcomes = dict[str, Outcome]
"""The outcome of each conversation, by its id."""


def audit(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, *, pool: Pool
) -> Finished[Audited]:
    """Measure the suppression curve; the stage writes no shards, the curve is its facts."""
    shared = _Shared(config, storage, labelled, harvested)
    return run_stage(
        storage,
        recipe(config, labelled, harvested),
        lambda _: Body([], AuditFacts(audit=_audit(shared, pool)), rows_in=0),
    )


def recipe(config: RunConfig, labelled: Placed, harvested: Placed) -> Recipe[Audited]:
    """The recipe that identifies the curve; it holds the model's name because the curve does."""
    identity = {
        **judged_replies_identity(config),
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


def _audit(shared: _Shared, pool: Pool) -> Audit:
    config, settings, spec = shared.config, shared.config.audit, spec_of(shared.harvested)
    [[ranked, *drawn]] = pool.map(_orders, shared, [None], lambda done, total: None)
    conversations, audited = _test_conversations(shared)
    in_order = [_Item(suppressing(ranked, n, spec), conversations) for n in settings.n_suppressed]
    at_random = [_Item(suppressing(order, n, spec), audited) for n in settings.n_suppressed for order in drawn]
    judged = iter(pool.map(_judge, config, [*in_order, *at_random], steps("audit")))
    unsteered = unsteered_outcomes(shared.storage, shared.labelled, "test")
    baseline: Outcomes = {row["conversation_id"]: row["outcome"] for row in unsteered.to_pylist()}
    rows, of_set = conversations.located(), audited.located()
    ranked_outcomes = [next(judged) for _ in in_order]
    random_outcomes = [[next(judged) for _ in drawn] for _ in settings.n_suppressed]
    return Audit(
        model=model_name(config.model),
        behaviour=config.behaviour.name,
        set=settings.set,
        ranking=settings.ranking,
        experts=spec.n_layers * spec.n_experts,
        baseline=_rates(rows, baseline),
        points=tuple(
            AuditPoint(
                n=n,
                rates=_rates(rows, outcomes),
                changes=_changes(rows, baseline, outcomes),
                random=tuple(_rates(of_set, draw)[settings.set] for draw in draws),
            )
            for n, outcomes, draws in zip(settings.n_suppressed, ranked_outcomes, random_outcomes, strict=True)
        ),
    )


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
    ranked_LE = _risk_difference(shared) if config.audit.ranking == "risk_difference" else _effect(shared, loaded)
    generator = torch.Generator().manual_seed(config.seed)
    drawn = [torch.rand(ranked_LE.shape, generator=generator) for _ in range(config.audit.random_draws)]
    routers = find_routers(loaded.model)
    return [suppression_order(score_LE, routers) for score_LE in (ranked_LE, *drawn)]


def _risk_difference(shared: _Shared) -> Tensor:
    """How much more often each expert is selected in positive than in negative training traces, [L, E]."""
    traces = traces_of(shared.storage, shared.harvested, "train")
    return count_selections(traces).risk_difference()


def _effect(shared: _Shared, loaded: Loaded) -> Tensor:
    """The attributed effect of one standard deviation of each router logit on the audited set, [L, E]."""
    config, sigma_L = shared.config, sigma_of(shared.harvested)
    conversations = conversations_of(shared.storage, shared.labelled, "train")
    audited = conversations.where(lambda row: row.set == config.audit.set)
    return attribution(loaded, audited, sigma_L, _RANKED_AT_ONCE, config.compute).effect_LE * sigma_L[:, None]


def _judge(worker: Worker, config: RunConfig, item: _Item) -> Outcomes:
    """The outcome of each conversation; the replies are dropped here."""
    loaded, outcomes = worker.model(config.model), Outcomes()
    for start in range(0, len(item.conversations), PART_ROWS):
        rows = [*item.conversations[start : start + PART_ROWS]]
        prompts = prompts_of(loaded, rows, config.generation)
        replies = complete(loaded, prompts, item.mask, config.generation, worker.count_batch)
        verdicts = judge_all(config.behaviour, rows, replies)
        outcomes |= {row.id: verdict.outcome for row, verdict in zip(rows, verdicts, strict=True)}
    return outcomes


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
