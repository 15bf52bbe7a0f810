"""The conversations of a run before it is made, with the model's own labels if a label stage has found them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mascing.catalogue.inputs import content_of, inputs_of
from mascing.conversations.splits import SPLITS
from mascing.errors import DataError
from mascing.evidence.foregone import Foregone, foregone
from mascing.evidence.prospects import Held
from mascing.models.checkpoints import checkpoint_fingerprint, rendering_fingerprint, with_pinned_model
from mascing.preflight.checks import preflight
from mascing.runs.readers import conversations_of, unsteered_outcomes
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import LabelFacts
from mascing.schemas.finished import Labelled, Prepared
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks import prepare


@dataclass(frozen=True)
class Known:
    """The target conversations of each split, the conversations of the test split, and what is known of their labels.

    ``labels`` are the facts of the label stage, None if it is not finished, and ``foregone`` the gates to mend.
    """

    targets: Mapping[Split, Held]
    test: Sequence[Conversation]
    labels: LabelFacts | None
    foregone: Sequence[Foregone]


def known(storage: Storage, config: RunConfig) -> Known:
    """What is known of the run of ``config`` without running a model.

    Raises DataError if the conversations cannot be read or used.
    """
    found = _labelled(storage, config)
    if found is None:
        return _from_the_file(config)
    prepared, labelled = found
    brought = conversations_of(storage, prepared, "test")
    splits = {split: conversations_of(storage, labelled, split) for split in SPLITS}
    return Known(
        {split: _targets(rows) for split, rows in splits.items()},
        splits["test"],
        labelled.facts,
        foregone(config, brought, unsteered_outcomes(storage, labelled, "test")),
    )


def _from_the_file(config: RunConfig) -> Known:
    found = preflight(config)
    if found.rows is None or not found.rows.used:
        raise DataError("; ".join(found.problems))
    sets, groups = found.rows.sets, found.rows.groups
    targets = {split: Held(sets[split]["target"], len(groups[split].get("target", ()))) for split in SPLITS}
    return Known(targets, found.rows.test, None, found.hopeless)


def _labelled(storage: Storage, config: RunConfig) -> tuple[Prepared, Labelled] | None:
    config = with_pinned_model(config)
    try:
        content = content_of(inputs_of(config.behaviour))
        recipe = prepare.recipe(config, rendering_fingerprint(config.model), content)
        prepared = read_manifest(storage, recipe.prefix, Prepared)
        # Imported here: it loads torch and Ray, which take seconds and which a run that is not begun does not need.
        from mascing.tasks import labelling

        checkpoint = checkpoint_fingerprint(config.model)
        labels = labelling.recipe(config, checkpoint, labelling.part_of(storage, prepared))
        return prepared, read_manifest(storage, labels.prefix, Labelled)
    except FileNotFoundError:
        return None


def _targets(rows: Iterable[Conversation]) -> Held:
    groups = [row.group_id for row in rows if row.set == "target"]
    return Held(len(groups), len(set(groups)))
