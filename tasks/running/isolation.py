"""A row that fails is set aside with its reason, and takes nothing else with it."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mascing.conversations.intake.reasons import summary
from mascing.conversations.intake.rows import Quarantined
from mascing.errors import (
    ConfigError,
    DataError,
    LogitsError,
    MascingError,
    MaskError,
    ModelError,
    SteeringError,
    StorageError,
)
from mascing.models.checkpoints import one_line
from mascing.progress import Event, tell
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, read_shard
from mascing.storage.object_storage import Storage

Row = TypeVar("Row")
Value = TypeVar("Value")

# Lines of a traceback that are kept: the last ones name the place.
_TRACED = 8

# The fault of the model, the mask, the configuration or the storage: it would meet every row alike.
_OF_NO_ROW = (ConfigError, ModelError, MaskError, SteeringError, StorageError)


@dataclass(frozen=True)
class Failed:
    """Why a row could not be processed, and where in the code if an exception said so."""

    reason: str
    traceback: str = ""


def surviving(function: Callable[[Sequence[Row]], Sequence[Value]], rows: Sequence[Row]) -> list[Value | Failed]:
    """``function(rows)``, one value per row, with `Failed` for each row that makes it raise.

    The rows are halved until a failing row is alone. Errors that no row can cause are raised.
    """
    if not rows:
        return []
    try:
        return list(function(rows))
    except _OF_NO_ROW:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a row provokes in a model's code is that row's failure
        if len(rows) == 1:
            return [Failed(_reason(error), "".join(traceback.format_exception(error)[-_TRACED:]))]
    middle = len(rows) // 2
    return surviving(function, rows[:middle]) + surviving(function, rows[middle:])


def refuse_many(storage: Storage, manifest: Manifest, limit: float, conversations: int | None = None) -> None:
    """Raise `refusal` if the stage set aside more than a share ``limit`` of its conversations.

    ``conversations`` is their number where the stage has rows of other kinds as well.
    """
    total = manifest.rows_in if conversations is None else conversations
    if manifest.rows_quarantined > limit * total:
        failed, where = _set_aside(storage, manifest), _quarantine_at(storage, manifest)
        raise refusal(manifest.stage, failed, total, limit, where)


def refusal(stage: str, failed: Sequence[Quarantined], total: int, limit: float, where: str) -> DataError | ModelError:
    """What is said if too many of a stage's ``total`` conversations failed; ``where`` is the file with all reasons.

    It is the model's fault if it gave logits that are none on all of them.
    """
    reasons = summary(failed, "row")
    if len(failed) == total and all(map(_of_logits, failed)):
        return ModelError(
            f"{stage}: the model gives nothing that can be used on any of {total} conversations: {reasons} ({where} "
            "has all reasons)"
        )
    return DataError(
        f"{stage}: {len(failed)} of {total} conversations cannot be used, more than max_quarantined "
        f"({100 * limit:g}%) allows: {reasons}; mend them, or raise max_quarantined ({where} has all reasons)"
    )


def tell_set_aside(storage: Storage, manifest: Manifest, conversations: int | None = None) -> None:
    """Tell how many conversations the stage set aside, and why; ``conversations`` as in :func:`refuse_many`."""
    if not manifest.rows_quarantined:
        return
    total = manifest.rows_in if conversations is None else conversations
    text = (
        f"{manifest.rows_quarantined} of {total} conversations set aside: "
        f"{summary(_set_aside(storage, manifest), 'row')} "
        f"(reasons in {_quarantine_at(storage, manifest)})"
    )
    tell(Event(manifest.stage, "note", text=text))


def quarantined(row: int, conversation: Conversation, failed: Failed) -> Quarantined:
    """The quarantine's record of a conversation that failed after it was read; ``row`` counts from 1."""
    text = conversation.messages[-1].content[:200]
    return Quarantined(row, conversation.id, failed.reason, text, failed.traceback or None)


def _set_aside(storage: Storage, manifest: Manifest) -> list[Quarantined]:
    return [Quarantined(**row) for row in parquet.table_of(read_shard(storage, manifest, QUARANTINE)).to_pylist()]


def _of_logits(failed: Quarantined) -> bool:
    """Whether a `LogitsError` was raised over the row, which its traceback ends with wherever it was kept."""
    return f"{LogitsError.__module__}.{LogitsError.__qualname__}: " in (failed.traceback or "")


def _quarantine_at(storage: Storage, manifest: Manifest) -> str:
    return storage.locate(f"{manifest.prefix}/{QUARANTINE}")


def _reason(error: Exception) -> str:
    return one_line(error) if isinstance(error, MascingError) else f"{type(error).__name__}: {one_line(error)}"
