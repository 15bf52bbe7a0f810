"""The label stage: the unsteered model replies to every conversation, and its judged replies give labels and contrasts.

No later stage generates these replies again: select, evaluate, robustness and the audit take them from here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa

from mascing.conversations.json_lines import to_table
from mascing.conversations.splits import SPLITS
from mascing.evidence.results import label_agreement
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.progress import Event, tell
from mascing.runs.files import conversations_file, sampled_file, unsteered_file
from mascing.runs.readers import conversations_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import LabelFacts
from mascing.schemas.finished import Labelled, Prepared
from mascing.schemas.result import Agreement, SetReplies
from mascing.schemas.tables import VERDICTS
from mascing.statistics import rate
from mascing.storage import parquet
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.contrasts import labelled
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.judged import Row
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage
from mascing.tasks.running.unsteered import replies_of, sampled_replies_of

T = TypeVar("T")

# The test split is only judged, never learned from: it needs neither matched classes nor sampled replies.
_LEARNED: tuple[Split, ...] = ("train", "dev")


def label(storage: Storage, config: RunConfig, prepared: Prepared, *, pool: Pool) -> Finished[Labelled]:
    """Write the labelled ``conversations-<split>.parquet`` and the verdicts on the replies behind the labels.

    ``verdicts-unsteered-<split>.parquet`` holds the replies at the run's generation settings, and
    ``verdicts-sampled-<split>.parquet`` those of ``label.samples``. The stage also finishes with too little to learn
    from; ``mascing.evidence.sufficiency`` says so by its facts.
    """
    checkpoint = checkpoint_fingerprint(config.model)
    return run_stage(
        storage,
        recipe(config, checkpoint, prepared),
        lambda output: _label(output, storage, config, prepared, pool, checkpoint),
    )


def recipe(config: RunConfig, checkpoint: str, prepared: Placed) -> Recipe[Labelled]:
    """The recipe that identifies labels and replies; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **judged_replies_identity(config),
        "checkpoint": checkpoint,
        "dtype": config.model.dtype,
        "trust_remote_code": config.model.trust_remote_code,  # its own code may make another tokenizer
        "attn_implementation": config.model.attn_implementation,
        "label": config.label,
        "wanted_reply": config.behaviour.wanted_reply,
        "matching": config.behaviour.matching,
    }
    return Recipe(Labelled, config.behaviour.name, identity, {"prepare": prepared})


def _label(
    output: StageOutput[Labelled], storage: Storage, config: RunConfig, prepared: Prepared, pool: Pool, checkpoint: str
) -> Body:
    brought = {split: conversations_of(storage, prepared, split) for split in SPLITS}
    targets = {split: [row for row in brought[split] if row.set == "target"] for split in _LEARNED}
    unsteered = replies_of(pool, config, brought)
    sampled = sampled_replies_of(pool, config, targets) if config.label.samples else {}
    splits = {
        split: labelled(
            pool, config, brought[split], [*unsteered[split], *sampled.get(split, ())], learned=split in _LEARNED
        )
        for split in SPLITS
    }
    tables = {conversations_file(split): to_table(done.conversations) for split, done in splits.items()}
    tables |= {unsteered_file(split): _verdicts(rows) for split, rows in unsteered.items()}
    tables |= {sampled_file(split): _verdicts(rows) for split, rows in sampled.items()}
    shards = [output.put(name, parquet.to_bytes(table), len(table)) for name, table in tables.items()]
    facts = LabelFacts(
        checkpoint=checkpoint,
        sets={split: _by_set(rows) for split, rows in unsteered.items()},
        matching={split: done.matched for split, done in splits.items() if done.matched is not None},
        unmatched={split: done.unmatched for split, done in splits.items() if done.unmatched},
        contrast={split: splits[split].contrast for split in _LEARNED},
        agreement=_agreement(_all(brought), _all(unsteered)),
    )
    for note in _notes(facts):
        tell(Event("label", "note", text=note))
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


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
    scored = [row for row in brought if row.label is not None and outcomes[row.id] != "unscored"]
    agreed = sum((row.label == "positive") == (outcomes[row.id] == "hit") for row in scored)
    return Agreement(kappa=kappa, share=agreed / len(scored) if scored else 0.0)


def _notes(facts: LabelFacts) -> Iterable[str]:
    """What whoever watches the run should know of its labels."""
    targets = [sets["target"] for sets in facts.sets.values()]
    hits, misses = sum(replies.hits for replies in targets), sum(replies.misses for replies in targets)
    unscored = sum(replies.unscored for replies in targets)
    yield f"the model's own replies to target conversations: {hits} hits, {misses} misses, {unscored} unscored"
    cut_off = sum(replies.cut_off for sets in facts.sets.values() for replies in sets.values())
    if cut_off:
        yield f"{cut_off} replies reached generation.max_new_tokens and were cut off"
    if facts.agreement is not None:
        kappa = facts.agreement.kappa
        yield (
            f"the labels in the file agree with the model's own replies in {facts.agreement.share:.0%}: kappa "
            f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]; the model's own are used"
        )


def _all(by_split: Mapping[Split, Sequence[T]]) -> list[T]:
    return [item for items in by_split.values() for item in items]
