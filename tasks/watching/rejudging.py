"""The judges of a run, asked anew: the canaries, and a few replies that they judged before.

A judge behind an endpoint may become another under the same name, which no fingerprint shows. So nothing that is stored
answers here, but what is asked counts against the endpoint's budget.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.conversations.reply import Reply
from mascing.engines.openai.stored_answers import PaidAnew
from mascing.errors import MascingError
from mascing.evidence.gates import Decision, all_of
from mascing.evidence.promoting.judge_drift import decide_canaries, decide_rejudged
from mascing.judges.canaries.canary import hear_canaries
from mascing.judges.judge import summed
from mascing.judges.judging import judge_by
from mascing.judges.table import kind_of
from mascing.models.checkpoints import one_line
from mascing.runs.readers import conversations_of, unsteered_table
from mascing.schemas.cards.scheduled_check import JudgesToday
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.verdict import Outcome
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import steps
from mascing.tasks.watching.standing import Watch
from mascing.tasks.workers.worker import Worker

REPLIES = 48
"""Replies of the unsteered model that a judge judges anew, at most: half of them hits, if there are as many."""


@dataclass(frozen=True)
class _Known:
    """A judge, and replies with the verdicts that it gave on them; ``sets`` are those that it judges."""

    judge: JudgeConfig
    sets: tuple[str, ...]
    limit: float
    conversations: tuple[Conversation, ...]
    replies: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def hear_judges(watch: Watch) -> JudgesToday:
    """How each judge does today. A judge by rules is heard on the canaries alone, since its version is its identity.

    A judge that cannot be asked is undecided.
    """
    heard = watch.pool.map(_hear, watch.storage, list(_known(watch)), steps("judges"))
    gate, reasons = all_of(decision for decision, _ in heard)
    return JudgesToday(gate=gate, reasons=reasons, cost=summed(cost for _, cost in heard))


def _known(watch: Watch) -> Iterable[_Known]:
    behaviour, limit = watch.config.behaviour, watch.schedule.min_agreement
    rows = [row for part in unsteered_table(watch.storage, watch.labelled, "test").parts() for row in part.to_pylist()]
    # As they were when the judge saw them: the label stage completes them by the replies themselves.
    brought = conversations_of(watch.storage, watch.prepared, "test")
    asked = {row.id: row for row in brought if _as_it_was_judged(watch, row)}
    # By what they are: a judge with options of its own cannot be hashed.
    sets: dict[str, list[str]] = {}
    for name in sorted({row["set"] for row in rows}, key=lambda name: (name != "target", name)):
        sets.setdefault(behaviour.judge_of(name).model_dump_json(), []).append(name)
    for names in sets.values():
        judge = behaviour.judge_of(names[0])
        usable = [row for row in rows if row["set"] in names and row["conversation_id"] in asked]
        chosen = [] if kind_of(judge).by_rules or limit == 0 else _sample(usable)
        yield _Known(
            judge,
            tuple(names),
            limit,
            tuple(asked[row["conversation_id"]] for row in chosen),
            tuple(row["reply"] for row in chosen),
            tuple(row["outcome"] for row in chosen),
        )


def _as_it_was_judged(watch: Watch, conversation: Conversation) -> bool:
    """Whether the judge saw this conversation as it is: in a live one, it saw the model's own replies between."""
    turns = sum(message.role == "user" for message in conversation.messages)
    return watch.config.generation.turns == "last_turn" or turns == 1


def _sample(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows each night: a mere share of equal verdicts would not show that all have become hits."""
    whole = [row for row in rows if not row["cut_off"]]
    mixed = sorted(whole, key=lambda row: fingerprint(row["conversation_id"]))
    hits, misses = ([row for row in mixed if row["outcome"] == outcome] for outcome in ("hit", "miss"))
    half = REPLIES // 2
    return [*hits[: REPLIES - min(half, len(misses))], *misses[: REPLIES - min(half, len(hits))]]


def _hear(_: Worker, storage: Storage, known: _Known) -> tuple[Decision, float | None]:
    """Whether the judge does as it did, and what asking it cost in US dollars, None if it is not paid."""
    name = f"judge {known.judge.kind.rpartition(':')[2]} of {known.sets[0]}"
    try:
        anew = PaidAnew(storage)
        canaries = hear_canaries(known.judge, anew)
        now = judge_by(known.judge, known.conversations, [Reply(text) for text in known.replies], anew)
    except MascingError as error:
        return ("undecided", (f"{name} is undecided: it cannot be asked: {one_line(error)}",)), None
    wrong = [str(each) for each in canaries if not each.right and not each.verdict.failed]
    failed = sum(each.verdict.failed for each in canaries)
    decisions = [decide_canaries(name, len(canaries), wrong, failed)]
    if now:
        groups = [row.group_id for row in known.conversations]
        today = [None if verdict.failed else verdict.outcome for verdict in now]
        decisions.append(decide_rejudged(name, known.outcomes, today, groups, known.limit))
    return all_of(decisions), summed(verdict.cost for verdict in [*(each.verdict for each in canaries), *now])
