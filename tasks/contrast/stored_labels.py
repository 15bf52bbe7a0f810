"""The conversations of a run before it is made, with the model's own labels if a label stage has found them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mascing.conversations.intake.reader import open_conversations, read_all
from mascing.conversations.splits import SPLITS, split_of
from mascing.evidence.foregone import Foregone, foregone
from mascing.models.checkpoints import checkpoint_fingerprint, pinned, rendering_fingerprint
from mascing.runs.readers import conversations_of, unsteered_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import LabelFacts
from mascing.schemas.finished import Labelled, Prepared
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_rows
from mascing.tasks import labelling, prepare


@dataclass(frozen=True)
class Known:
    """The conversations of each split, the facts of the label stage, None if it is not finished, and gates to mend."""

    conversations: Mapping[Split, Sequence[Conversation]]
    labels: LabelFacts | None
    foregone: Sequence[Foregone]


def known(storage: Storage, config: RunConfig) -> Known:
    """What is known of the run of ``config`` without running a model.

    Raises DataError if the conversations cannot be read.
    """
    source = read_rows(config.behaviour.conversations)
    found = _labelled(storage, config, source)
    if found is None:
        splits = _split(config, source)
        return Known(splits, None, foregone(config, splits["test"]))
    prepared, labelled = found
    brought, unsteered = conversations_of(storage, prepared, "test"), unsteered_of(storage, labelled, "test")
    return Known(
        {split: conversations_of(storage, labelled, split) for split in SPLITS},
        labelled.facts,
        foregone(config, brought, [*unsteered.values()]),
    )


def _labelled(storage: Storage, config: RunConfig, source: Source) -> tuple[Prepared, Labelled] | None:
    config = config.model_copy(update={"model": pinned(config.model)})
    rendering = rendering_fingerprint(config.model)
    try:
        prepared = read_manifest(storage, prepare.recipe(config, rendering, source).prefix, Prepared)
        brought = {split: conversations_of(storage, prepared, split) for split in SPLITS}
        checkpoint = checkpoint_fingerprint(config.model)
        recipe = labelling.recipe(config, checkpoint, labelling.part_of(prepared, brought))
        return prepared, read_manifest(storage, recipe.prefix, Labelled)
    except FileNotFoundError:
        return None


def _split(config: RunConfig, source: Source) -> dict[Split, list[Conversation]]:
    behaviour = config.behaviour
    rows = read_all(open_conversations(source.files, behaviour.columns, behaviour.max_characters)).conversations
    return {split: [row for row in rows if split_of(row.group_id, config.splits) == split] for split in SPLITS}
