"""The label stage: the unsteered model replies to every conversation, and its judged replies give labels and contrasts.

No later stage generates these replies again: select, evaluate, robustness and the audit take them from here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table, to_table
from mascing.conversations.splits import SPLITS
from mascing.errors import ConfigError
from mascing.evidence.foregone import foregone, unpublishable
from mascing.evidence.results import label_agreement
from mascing.evidence.sufficiency import doubts_of
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.progress import Event, tell
from mascing.runs.files import conversations_prefix, sampled_prefix, unsteered_prefix
from mascing.runs.readers import conversations_of, conversations_table, each_conversation, unsteered_of
from mascing.runs.table_parts import put_parts
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import LabelFacts
from mascing.schemas.finished import Labelled, Prepared
from mascing.schemas.result import Agreement, SetReplies
from mascing.schemas.tables import VERDICTS
from mascing.statistics import rate
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.contrast.contrasts import LabelledSplit, labelled
from mascing.tasks.contrast.unsteered import Unsteered
from mascing.tasks.running.identity import judged_replies_identity, rendered_model_identity
from mascing.tasks.running.isolation import quarantined, refuse_many, tell_set_aside
from mascing.tasks.running.judged import Row
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage
from mascing.tasks.workers.pool import Pool

# The test split is only judged, never learned from: it needs neither matched classes nor sampled replies.
_LEARNED: tuple[Split, ...] = ("train", "dev")


def label(storage: Storage, config: RunConfig, prepared: Prepared, *, pool: Pool) -> Finished[Labelled]:
    """Write the labelled ``conversations-<split>-000000.parquet`` ... and the verdicts on the replies behind them.

    ``verdicts-unsteered-<split>-000000.parquet`` ... hold the replies at the run's generation settings, and
    ``verdicts-sampled-<split>-000000.parquet`` ... those of ``label.samples``. The stage also finishes with too little
    to learn from; ``mascing.evidence.sufficiency`` says so by its facts.
    """
    checkpoint = checkpoint_fingerprint(config.model)
    brought = {split: conversations_of(storage, prepared, split) for split in SPLITS}
    finished = run_stage(
        storage,
        recipe(config, checkpoint, part_of(storage, prepared)),
        lambda output: _label(output, Unsteered(pool, storage, config, checkpoint), brought),
    )
    conversations = sum(map(len, brought.values()))
    refuse_many(storage, finished.manifest, config.max_quarantined, conversations)
    tell_set_aside(storage, finished.manifest, conversations)
    unsteered = unsteered_of(storage, finished.manifest, "test")
    for warning in foregone(config, brought["test"], [*unsteered.values()]):
        tell(Event("label", "note", text=str(warning)))
    return finished


def refuse_unpublishable(storage: Storage, config: RunConfig, prepared: Prepared, labelled: Labelled) -> None:
    """Raise ConfigError if no mask can pass the gates by the model's own replies, unless the run goes on all the same.

    The label stage has told each of these gates as a note.
    """
    brought, unsteered = conversations_of(storage, prepared, "test"), unsteered_of(storage, labelled, "test")
    if not config.allow_unpublishable and (found := foregone(config, brought, [*unsteered.values()])):
        raise ConfigError(unpublishable(found))


def part_of(storage: Storage, prepared: Prepared) -> Part:
    """The part of the prepare stage that this stage reads: the conversations of all splits."""
    tables = {split: conversations_table(storage, prepared, split) for split in SPLITS}
    conversations = {split: Streamed(each_conversation(table)) for split, table in tables.items()}
    return Part(prepared, fingerprint(conversations))


def recipe(config: RunConfig, checkpoint: str, prepared: Placed) -> Recipe[Labelled]:
    """The recipe that identifies labels and replies; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **judged_replies_identity(config),
        **rendered_model_identity(config.model, checkpoint),
        "label": config.label,
        "wanted_reply": config.behaviour.wanted_reply,
        "matching": config.behaviour.matching,
    }
    return Recipe(Labelled, config.behaviour.name, identity, {"prepare": prepared})


@dataclass(frozen=True)
class _Split:
    """What the stage leaves of a split: replies at the run's settings, sampled replies, and labelled conversations."""

    unsteered: Sequence[Row]
    sampled: Sequence[Row]
    labelled: LabelledSplit
    quarantined: Sequence[Quarantined]


def _label(output: StageOutput[Labelled], model: Unsteered, brought: Mapping[Split, Sequence[Conversation]]) -> Body:
    splits = {split: _split(model, split, rows) for split, rows in brought.items()}
    tables = {conversations_prefix(split): to_table(done.labelled.conversations) for split, done in splits.items()}
    tables |= {unsteered_prefix(split): _verdicts(done.unsteered) for split, done in splits.items()}
    tables |= {sampled_prefix(split): _verdicts(done.sampled) for split, done in splits.items() if done.sampled}
    quarantine = [row for done in splits.values() for row in done.quarantined]
    shards = [shard for prefix, table in tables.items() for shard in put_parts(output, prefix, [table])]
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine)))
    facts = _facts(splits, brought, model.checkpoint)
    facts = facts.model_copy(update={"cut_off": _cut_off(model, splits, brought)})
    for note in _notes(facts):
        tell(Event("label", "note", text=note))
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards), rows_quarantined=len(quarantine))


def _split(model: Unsteered, split: Split, brought: Sequence[Conversation]) -> _Split:
    judged = model.replies(split, brought)
    replied = [row for row in brought if row.id not in judged.failed]
    learned = split in _LEARNED
    sampled = model.sampled(split, [row for row in replied if row.set == "target"]) if learned else []
    unsteered = [row for row in judged.rows if row["conversation_id"] not in judged.failed]
    return _Split(
        unsteered,
        sampled,
        labelled(model, replied, [*unsteered, *sampled], learned=learned),
        [
            quarantined(number, row, judged.failed[row.id])
            for number, row in enumerate(brought, start=1)
            if row.id in judged.failed
        ],
    )


def _cut_off(
    model: Unsteered, splits: Mapping[Split, _Split], brought: Mapping[Split, Sequence[Conversation]]
) -> str | None:
    """The token limit that replies need that were cut off before they could be judged."""
    rows = [row for part in splits.values() for row in part.unsteered]
    undecided = {row["conversation_id"] for row in rows if row["cut_off"] and row["outcome"] == "unscored"}
    cut_off = [row for conversations in brought.values() for row in conversations if row.id in undecided]
    return model.cut_off_note(cut_off, len(rows))


def _facts(
    splits: Mapping[Split, _Split], brought: Mapping[Split, Sequence[Conversation]], checkpoint: str
) -> LabelFacts:
    done = {split: part.labelled for split, part in splits.items()}
    return LabelFacts(
        checkpoint=checkpoint,
        sets={split: _by_set(part.unsteered) for split, part in splits.items()},
        matching={split: part.matched for split, part in done.items() if part.matched is not None},
        unmatched={split: part.unmatched for split, part in done.items() if part.unmatched},
        contrast={split: done[split].contrast for split in _LEARNED},
        agreement=_agreement(
            [conversation for conversations in brought.values() for conversation in conversations],
            [row for part in splits.values() for row in part.unsteered],
        ),
    )


def _verdicts(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=VERDICTS)


def _by_set(rows: Sequence[Row]) -> dict[str, SetReplies]:
    return {
        name: _replies([row for row in rows if row["set"] == name]) for name in sorted({row["set"] for row in rows})
    }


def _replies(rows: Sequence[Row]) -> SetReplies:
    outcomes = [row["outcome"] for row in rows]
    counts = Counter(outcomes)
    return SetReplies(
        hits=counts["hit"],
        misses=counts["miss"],
        unscored=counts["unscored"],
        cut_off=sum(row["cut_off"] for row in rows),
        rate=rate(outcomes, [row["group_id"] for row in rows]),
    )


def _agreement(brought: Sequence[Conversation], rows: Sequence[Row]) -> Agreement | None:
    """How far the labels of the file agree with the model's own replies, over all splits; None if it brought none."""
    kappa = label_agreement(brought, rows)
    if kappa is None:
        return None
    outcomes = {row["conversation_id"]: row["outcome"] for row in rows}
    scored = [row for row in brought if row.label is not None and outcomes.get(row.id, "unscored") != "unscored"]
    agreed = sum((row.label == "positive") == (outcomes[row.id] == "hit") for row in scored)
    return Agreement(kappa=kappa, share=agreed / len(scored) if scored else 0.0)


def _notes(facts: LabelFacts) -> Iterable[str]:
    """What whoever watches the run should know of its labels."""
    targets = [sets["target"] for sets in facts.sets.values()]
    hits, misses = sum(replies.hits for replies in targets), sum(replies.misses for replies in targets)
    unscored = sum(replies.unscored for replies in targets)
    yield f"the model's own replies to target conversations: {hits} hits, {misses} misses, {unscored} unscored"
    yield from doubts_of(facts)
