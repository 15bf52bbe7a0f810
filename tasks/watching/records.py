"""The records of scheduled runs, ``checks/<checkpoint>/<behaviour>/<moment>.json``: one a run, never changed."""

from typing import Any

from pydantic import ValidationError

from mascing.errors import DataError
from mascing.evidence.gates import missed_gates
from mascing.models.checkpoint_names import NamedCheckpoint, flat_name
from mascing.schemas.cards.scheduled_check import ScheduledCheck
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json

CHECKS = "checks"
_LATEST = 90


def write(storage: Storage, check: ScheduledCheck) -> str:
    """Store the record; returns where."""
    path = f"{_folder(check.model, check.behaviour)}/{check.at:%Y%m%dT%H%M%S.%fZ}.json"
    storage.create(path, seal_json(check.model_dump_json(indent=1)))
    return path


def last(storage: Storage, checkpoint: NamedCheckpoint, behaviour: str) -> ScheduledCheck | None:
    """The latest record of a model and behaviour; None if there is none that this version reads."""
    found = checks(storage, checkpoint.name, behaviour)
    return found[-1] if found else None


def checks(storage: Storage, model: str, behaviour: str) -> list[ScheduledCheck]:
    """The latest records of a model, whatever its weights were, and a behaviour, the oldest first."""
    found = []
    for path in sorted(storage.list(_folder(model, behaviour)))[-_LATEST:]:
        try:
            found.append(ScheduledCheck.model_validate_json(open_json(storage.read(path), storage.locate(path))))
        except (DataError, ValidationError):  # damaged, or of another version: a record less, and no more
            continue
    return found


def was_told(storage: Storage, check: ScheduledCheck) -> bool:
    """Whether the check before held the same candidate for the same gates: people know it already."""
    before = [each for each in checks(storage, check.model, check.behaviour) if each.at < check.at][-1:]
    return bool(before) and _told(before[0]) == _told(check)


def _told(check: ScheduledCheck) -> tuple[Any, ...]:
    candidate = check.candidate.mask if check.candidate else None
    live = (check.live.mask, check.live.regressed, check.live.routing.gate) if check.live else None
    judges = missed_gates(check.judges.reasons) if check.judges else []
    return check.outcome, candidate, live, judges, missed_gates(check.reasons)


def digest(identity: dict[str, Any]) -> str:
    """A short name of settings, to tell whether they are the same."""
    return fingerprint(identity)


def _folder(model: str, behaviour: str) -> str:
    return f"{CHECKS}/{flat_name(model)}/{behaviour}"
