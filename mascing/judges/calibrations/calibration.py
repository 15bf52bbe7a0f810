"""Make, write and read the calibration of a judge. It belongs to that judge alone: another model or rubric voids it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mascing.errors import DataError, first_line
from mascing.judges.table import completed_judge, judge_identity
from mascing.plugins import OptionsError
from mascing.schemas.calibration import Calibration
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.verdict import Outcome
from mascing.statistics.agreement import agreement_on, kappa
from mascing.storage.sealing import check, open_json, seal_json
from mascing.validation import complaints

LEAST_LABELS = 10
"""Labelled hits, and labelled misses, below which the interval of a share says next to nothing."""


def calibrated(
    config: JudgeConfig,
    judged: Sequence[Outcome],
    said: Sequence[Outcome],
    groups: Sequence[str],
    data: str,
    labels: str,
) -> Calibration:
    """The calibration from verdicts and human labels on the same rows; ``data`` is the digest of the file.

    Raises DataError if there are fewer than LEAST_LABELS labelled hits or labelled misses.
    """
    hits, misses = said.count("hit"), said.count("miss")
    if min(hits, misses) < LEAST_LABELS:
        raise DataError(
            f"a calibration needs {LEAST_LABELS} labelled hits and {LEAST_LABELS} labelled misses at least: {labels} "
            f"has {hits} and {misses}; label more rows"
        )
    return Calibration(
        judge=judge_identity(config),
        data=data,
        labels=labels,
        hits=hits,
        misses=misses,
        kappa=kappa(judged, said, groups),
        sensitivity=agreement_on(judged, said, "hit", groups),
        specificity=agreement_on(judged, said, "miss", groups),
    )


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write it where a judge's ``calibration`` names it. Raises DataError if the file cannot be written."""
    try:
        path.write_bytes(seal_json(calibration.model_dump_json(indent=1)))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def calibration_of(config: JudgeConfig) -> Calibration | None:
    """The judge's calibration, or None if it names none.

    Raises OptionsError if the file cannot be read, is no calibration, or is that of another judge.
    """
    path = config.calibration
    if path is None:
        return None
    try:
        found = Calibration.model_validate_json(_opened(path))
    except (OSError, ValueError, DataError) as error:
        why = complaints(error, Calibration)[0] if isinstance(error, ValidationError) else first_line(error)
        raise OptionsError(
            f"calibration: {path} cannot be read as one ({why}): write it with mascing judge FILE "
            "--labels COLUMN --calibration"
        ) from error
    if differing := _differing(found.judge, judge_identity(config)):
        raise OptionsError(
            f"calibration: {path} is that of another judge (it differs in {differing}): calibrate this one with "
            "mascing judge FILE --labels COLUMN --calibration"
        )
    return found


def _opened(path: str) -> bytes:
    """The calibration without its seal, which it must have: a calibration is measured, and not written by hand."""
    data = Path(path).read_bytes()
    check(data, path)
    return open_json(data, path)


def checked_judge(config: JudgeConfig) -> JudgeConfig:
    """The config with its options checked and defaults filled in, and its calibration found to be its own.

    Raises ConfigError, and OptionsError for an option.
    """
    complete = completed_judge(config)
    calibration_of(complete)
    return complete


def _differing(theirs: dict[str, Any], ours: dict[str, Any], path: str = "") -> str:
    """The places where two identities differ, by dots; empty if nowhere."""
    places = []
    for name in sorted(theirs.keys() | ours.keys()):
        one, other, place = theirs.get(name), ours.get(name), f"{path}.{name}".lstrip(".")
        if isinstance(one, dict) and isinstance(other, dict):
            places += [_differing(one, other, place)]
        elif one != other:
            places.append(place)
    return ", ".join(filter(None, places))
