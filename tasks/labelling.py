"""The label stage: the unsteered model replies to every conversation, and its judged replies give labels and contrasts.

No later stage generates these replies again: select, evaluate, robustness and the audit take them from here.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import from_table, quarantine_table, to_table
from mascing.conversations.splits import SPLITS
from mascing.engines.lengths import AT_MOST
from mascing.errors import ConfigError
from mascing.evidence.foregone import Foregone, foregone, unpublishable
from mascing.evidence.results import label_agreement, outcomes_of
from mascing.evidence.sufficiency import doubts_of
from mascing.judges.judge import summed
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.progress import Event, tell
from mascing.runs.files import conversations_prefix, sampled_prefix, unsteered_prefix
from mascing.runs.readers import conversations_of, conversations_table, unsteered_outcomes
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import PartWriter, StoredTable, put_parts
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import ContrastCounts, LabelFacts
from mascing.schemas.finished import Labelled, Prepared
from mascing.schemas.manifest import Shard
from mascing.schemas.result import Agreement, SetReplies
from mascing.statistics import rate
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.contrast.contrasts import ContrastCounter, Matched, completed, matched
from mascing.tasks.contrast.replied import Replied
from mascing.tasks.contrast.unsteered import Unsteered
from mascing.tasks.running.identity import engine_part, judged_replies_identity, rendered_model_identity
from mascing.tasks.running.isolation import refuse_many, tell_set_aside
from mascing.tasks.running.second_try import refuse_failures
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
    brought = {split: conversations_table(storage, prepared, split) for split in SPLITS}
    finished = run_stage(
        storage,
        recipe(config, checkpoint, part_of(storage, prepared)),
        lambda output: _label(output, Unsteered(pool, storage, config, checkpoint), brought),
    )
    conversations = sum(map(len, brought.values()))
    refuse_many(storage, finished.manifest, config.max_quarantined, conversations)
    tell_set_aside(storage, finished.manifest, conversations)
    for warning in _foregone(storage, config, prepared, finished.manifest):
        tell(Event("label", "note", text=str(warning)))
    return finished


def refuse_unpublishable(storage: Storage, config: RunConfig, prepared: Prepared, labelled: Labelled) -> None:
    """Raise ConfigError if no mask can pass the gates by the model's own replies, unless the run goes on all the same.

    The label stage has told each of these gates as a note.
    """
    if not config.allow_unpublishable and (found := _foregone(storage, config, prepared, labelled)):
        raise ConfigError(unpublishable(found))


def _foregone(storage: Storage, config: RunConfig, prepared: Prepared, labelled: Labelled) -> list[Foregone]:
    brought = conversations_of(storage, prepared, "test")
    return foregone(config, brought, unsteered_outcomes(storage, labelled, "test"))


def part_of(storage: Storage, prepared: Prepared) -> Part:
    """The part of the prepare stage that this stage reads: the conversations of all splits."""
    conversations = {split: Streamed(conversations_of(storage, prepared, split)) for split in SPLITS}
    return Part(prepared, fingerprint(conversations))


def recipe(config: RunConfig, checkpoint: str, prepared: Placed) -> Recipe[Labelled]:
    """The recipe that identifies labels and replies; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **judged_replies_identity(config),
        **engine_part(config),
        **rendered_model_identity(config.model, checkpoint),
        "label": config.label,
        "wanted_reply": config.behaviour.wanted_reply,
        "matching": config.behaviour.matching,
    }
    return Recipe(Labelled, config.behaviour.name, identity, {"prepare": prepared})


Brought = Mapping[Split, StoredTable]
"""The conversations of each split as the prepare stage left them."""


@dataclass(frozen=True)
class _Split:
    """What the stage leaves of a split.

    ``verdicts`` are the columns of VERDICTS that counts are made of; ``pieces`` hold the replies that failed.
    """

    verdicts: pa.Table
    contrast: ContrastCounts
    matched: Matched
    quarantined: Sequence[Quarantined]
    pieces: Collection[str]
    shards: Sequence[Shard]


def _label(output: StageOutput[Labelled], model: Unsteered, brought: Brought) -> Body:
    splits = {split: _split(output, model, split, table) for split, table in brought.items()}
    quarantine = [row for done in splits.values() for row in done.quarantined]
    holding = {path for done in splits.values() for path in done.pieces}
    refuse_failures(output, quarantine, sum(map(len, brought.values())), model.config.max_quarantined, holding)
    shards = [shard for done in splits.values() for shard in done.shards]
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine)))
    facts = _facts(splits, brought, model.checkpoint)
    told = {"cut_off": _cut_off(model, splits, brought), "judging_cost": summed(model.costs)}
    facts = facts.model_copy(update=told)
    for note in _notes(facts):
        tell(Event("label", "note", text=note))
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards), rows_quarantined=len(quarantine))


def _split(output: StageOutput[Labelled], model: Unsteered, split: Split, table: StoredTable) -> _Split:
    """Label the conversations of a split, match its classes if methods learn from it, and complete the contrast."""
    replied = Replied(table, model.replies(split, table))
    matching = None
    if split in _LEARNED:
        targets = replied.targets()
        replied = replace(replied, sampled=model.sampled(split, table, targets) if len(targets) else ())
        matching = model.config.behaviour.matching
    pairs = Matched() if matching is None else matched(replied, matching)
    counter, conversations = ContrastCounter(), PartWriter(output, conversations_prefix(split))
    conversations.add(to_table(()))  # if there is no other, an empty part says so
    for rows in completed(model, replied, pairs):
        for own, done in rows:
            counter.add(own.own, done)
        conversations.add(to_table(done for _, done in rows))
    shards = [*conversations.close(), *put_parts(output, unsteered_prefix(split), replied.verdicts())]
    if replied.sampled:
        tables = (rows for sample in replied.sampled for rows in sample.tables())
        shards += put_parts(output, sampled_prefix(split), tables)
    return _Split(replied.columns(), counter.counts(), pairs, replied.set_aside(), replied.judged.pieces, shards)


def _cut_off(model: Unsteered, splits: Mapping[Split, _Split], brought: Brought) -> str | None:
    """The token limit that replies need that were cut off before they could be judged; None if there are none."""
    undecided = {
        split: done.verdicts.filter(pc.and_(done.verdicts["cut_off"], pc.equal(done.verdicts["outcome"], "unscored")))
        for split, done in splits.items()
    }
    cut_off = sum(map(len, undecided.values()))
    if not cut_off:
        return None
    step = -(-cut_off // AT_MOST)
    few: list[Conversation] = []
    before = 0
    for split, rows in undecided.items():
        names = set(rows["conversation_id"].to_pylist()[-before % step :: step])
        few += [row for row in StoredConversations(brought[split]) if row.id in names] if names else []
        before += len(rows)
    return model.cut_off_note(few, cut_off, sum(len(done.verdicts) for done in splits.values()))


def _facts(splits: Mapping[Split, _Split], brought: Brought, checkpoint: str) -> LabelFacts:
    return LabelFacts(
        checkpoint=checkpoint,
        sets={split: _by_set(done.verdicts) for split, done in splits.items()},
        matching={split: done.matched.counts for split, done in splits.items() if done.matched.counts is not None},
        unmatched={split: done.matched.reason for split, done in splits.items() if done.matched.reason},
        contrast={split: splits[split].contrast for split in _LEARNED},
        agreement=_agreement(brought, pa.concat_tables([done.verdicts for done in splits.values()])),
    )


def _by_set(verdicts: pa.Table) -> dict[str, SetReplies]:
    return {
        name: _replies(verdicts.filter(pc.equal(verdicts["set"], name)))
        for name in sorted(pc.unique(verdicts["set"]).to_pylist())
    }


def _replies(verdicts: pa.Table) -> SetReplies:
    outcomes = verdicts["outcome"].to_pylist()
    counts = Counter(outcomes)
    return SetReplies(
        hits=counts["hit"],
        misses=counts["miss"],
        unscored=counts["unscored"],
        cut_off=pc.sum(verdicts["cut_off"]).as_py(),
        rate=rate(outcomes, verdicts["group_id"].to_pylist()),
    )


def _agreement(brought: Brought, verdicts: pa.Table) -> Agreement | None:
    """How far the labels of the file agree with the model's own replies, over all splits; None if it brought none."""
    if next(_claims(brought), None) is None:  # then one verdict is enough to tell that there are any
        verdicts = verdicts.filter(pc.equal(verdicts["set"], "target")).slice(0, 1)
    kappa = label_agreement(_claims(brought), verdicts)
    if kappa is None:
        return None
    outcomes = outcomes_of(verdicts)
    scored = (row for row in _claims(brought) if outcomes.get(row.id, "unscored") != "unscored")
    agreed = [(row.label == "positive") == (outcomes[row.id] == "hit") for row in scored]
    return Agreement(kappa=kappa, share=sum(agreed) / len(agreed) if agreed else 0.0)


def _claims(brought: Brought) -> Iterator[Conversation]:
    """The conversations that have a label in the file."""
    parts = (part for table in brought.values() for part in table.parts())
    return (row for part in parts for row in from_table(part.filter(pc.is_valid(part["label"]))))


def _notes(facts: LabelFacts) -> Iterable[str]:
    """What whoever watches the run should know of its labels."""
    targets = [sets["target"] for sets in facts.sets.values()]
    hits, misses = sum(replies.hits for replies in targets), sum(replies.misses for replies in targets)
    unscored = sum(replies.unscored for replies in targets)
    yield f"the model's own replies to target conversations: {hits} hits, {misses} misses, {unscored} unscored"
    yield from (f"{split}: nothing to learn from: {reason}" for split, reason in facts.unmatched.items())
    yield from doubts_of(facts)
