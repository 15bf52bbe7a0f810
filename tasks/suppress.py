"""The audit stage: how far a safety behaviour falls as its experts are suppressed, on the test split, on the pool.

It leaves rates and nothing else: replies are judged where they are made and forgotten there, masks and the ranking of
experts live in the memory of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mascing.circuits.gradient.attribution import attribution
from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.engines.generation import complete, prompts_of
from mascing.errors import DataError
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.masks.suppression import Place, suppressing, suppression_order
from mascing.models.checkpoints import model_name
from mascing.progress import Event, tell
from mascing.report.audit_page import audit_page
from mascing.routers.spec import find_routers
from mascing.runs.readers import conversations_of, sigma_of, spec_of, traces_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import AuditFacts
from mascing.schemas.finished import Audited, Harvested, Prepared
from mascing.schemas.result import Rate
from mascing.schemas.suppression_curve import Audit, AuditPoint
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps

PAGE = "audit/index.html"

_RANKED_AT_ONCE = 24  # conversations a backward pass of the ranking

Outcomes = dict[str, Outcome]
"""By conversation id."""


def audit(
    storage: Storage, config: RunConfig, prepared: Prepared, harvested: Harvested, *, pool: Pool
) -> Finished[Audited]:
    """No shards: the curve is the stage's facts."""
    shared = _Shared(config, storage, prepared, harvested)
    return run_stage(
        storage,
        recipe(config, prepared, harvested),
        lambda _: Body([], AuditFacts(audit=_audit(shared, pool)), rows_in=0),
    )


def recipe(config: RunConfig, prepared: Placed, harvested: Placed) -> Recipe[Audited]:
    """What identifies the curve, which bears the model's name."""
    identity = {
        **judged_replies_identity(config),
        "audit": config.audit,
        "model": model_name(config.model),
        "seed": config.seed,
    }
    return Recipe(Audited, config.behaviour.name, identity, {"prepare": prepared, "harvest": harvested})


def write_audit(storage: Storage, audited: Audited) -> str:
    """Write `audit.json` and the page of it; returns where the page is."""
    curve = audited.facts.audit
    storage.overwrite("audit.json", f"{curve.model_dump_json(indent=1)}\n".encode())
    storage.overwrite(PAGE, audit_page(curve).encode())
    tell(Event("audit", "written"))
    return storage.locate(PAGE)


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    prepared: Prepared
    harvested: Harvested


@dataclass(frozen=True)
class _Item:
    mask: Mask | None
    conversations: tuple[Conversation, ...]


def _audit(shared: _Shared, pool: Pool) -> Audit:
    config, settings, spec = shared.config, shared.config.audit, spec_of(shared.harvested)
    [[ranked, *drawn]] = pool.map(_orders, shared, [None], lambda done, total: None)
    everyone, audited = _asked(shared)
    in_order = [_Item(suppressing(ranked, n, spec), everyone) for n in settings.n_suppressed]
    at_random = [_Item(suppressing(order, n, spec), audited) for n in settings.n_suppressed for order in drawn]
    judged = iter(pool.map(_judge, config, [_Item(None, everyone), *in_order, *at_random], steps("audit")))
    baseline = next(judged)
    ranked_outcomes = [next(judged) for _ in in_order]
    random_outcomes = [[next(judged) for _ in drawn] for _ in settings.n_suppressed]
    return Audit(
        model=model_name(config.model),
        behaviour=config.behaviour.name,
        set=settings.set,
        ranking=settings.ranking,
        experts=spec.n_layers * spec.n_experts,
        baseline=_rates(everyone, baseline),
        points=tuple(
            AuditPoint(
                n=n,
                rates=_rates(everyone, outcomes),
                changes=_changes(everyone, baseline, outcomes),
                random=tuple(_rates(audited, draw)[settings.set] for draw in draws),
            )
            for n, outcomes, draws in zip(settings.n_suppressed, ranked_outcomes, random_outcomes, strict=True)
        ),
    )


def _asked(shared: _Shared) -> tuple[tuple[Conversation, ...], tuple[Conversation, ...]]:
    """The test split, and of it the audited set."""
    everyone = tuple(conversations_of(shared.storage, shared.prepared, "test"))
    name = shared.config.audit.set
    audited = tuple(conversation for conversation in everyone if conversation.set == name)
    if not audited:
        raise DataError(f"the test split has no conversation of {name}: correct audit.set, or add some")
    return everyone, audited


def _orders(worker: Worker, shared: _Shared, _: None) -> list[list[Place]]:
    """The experts in the order of the ranking, then in as many random orders as the audit draws."""
    config, spec = shared.config, spec_of(shared.harvested)
    loaded = worker.model(config.model)
    if config.audit.ranking == "risk_difference":
        traces = traces_of(shared.storage, shared.harvested, "train")
        score_LE = count_selections(traces, spec.top_k).risk_difference()
    else:
        conversations = conversations_of(shared.storage, shared.prepared, "train")
        asked = [one for one in conversations if one.set == config.audit.set]
        sigma = sigma_of(shared.harvested)
        recompute = config.compute.gradient_checkpointing
        found = attribution(loaded, asked, sigma, _RANKED_AT_ONCE, recompute=recompute)
        score_LE = found.effect_LE * sigma[:, None]
    generator = torch.Generator().manual_seed(config.seed)
    drawn = [torch.rand(score_LE.shape, generator=generator) for _ in range(config.audit.random_draws)]
    routers = find_routers(loaded.model)
    return [suppression_order(one, routers) for one in (score_LE, *drawn)]


def _judge(worker: Worker, config: RunConfig, item: _Item) -> Outcomes:
    """How each conversation was answered; the replies themselves end here."""
    loaded = worker.model(config.model)
    prompts = prompts_of(loaded, item.conversations, config.generation)
    replies = complete(loaded, prompts, item.mask, config.generation)
    verdicts = judge_all(config.behaviour, item.conversations, replies)
    return {one.id: verdict.outcome for one, verdict in zip(item.conversations, verdicts, strict=True)}


def _rates(conversations: Sequence[Conversation], outcomes: Outcomes) -> dict[str, Rate]:
    return {
        name: rate([outcomes[one.id] for one in rows], [one.group_id for one in rows])
        for name, rows in _by_set(conversations).items()
    }


def _changes(conversations: Sequence[Conversation], before: Outcomes, after: Outcomes) -> dict[str, Rate]:
    return {
        name: paired_difference(
            [before[one.id] for one in rows], [after[one.id] for one in rows], [one.group_id for one in rows]
        )
        for name, rows in _by_set(conversations).items()
    }


def _by_set(conversations: Sequence[Conversation]) -> Mapping[str, list[Conversation]]:
    sets: dict[str, list[Conversation]] = {}
    for one in conversations:
        sets.setdefault(one.set, []).append(one)
    return sets
