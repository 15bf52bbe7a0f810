"""What people are told of a scheduled run."""

from typing import Any

from mascing.evidence.gates import missed_gates
from mascing.models.checkpoints import model_name, one_line
from mascing.runs.run_folder import RunFolder
from mascing.schemas.cards.scheduled_check import ScheduledCheck
from mascing.schemas.config import RunConfig
from mascing.storage.object_storage import Storage


def of_check(storage: Storage, check: ScheduledCheck) -> dict[str, Any] | None:
    """What is worth telling of a check: a regression, drift, a judge that fails, a promotion, a candidate held."""
    event = _event(check)
    if event is None:
        return None
    reasons = [reason for standing in (check.live,) if standing for reason in _missed(standing.reasons)]
    if check.live is not None:
        reasons += [*_missed(check.live.drift_reasons), *_missed(check.live.routing.reasons)]
    reasons += [*_missed(check.judges.reasons if check.judges else ()), *_missed(check.reasons)]
    reasons = list(dict.fromkeys(reasons))
    where = f"{check.behaviour} on {check.model}, channel {check.channel}"
    return {
        "event": event,
        "text": "\n".join([f"mascing: {event}: {where}: {check.outcome}", *reasons]),
        "behaviour": check.behaviour,
        "model": check.model,
        "channel": check.channel,
        "outcome": check.outcome,
        "live": check.live.mask if check.live else None,
        "candidate": check.candidate.mask if check.candidate else None,
        "reasons": reasons,
        "report": storage.locate(RunFolder(check.run).page) if check.run else None,
        "run": check.name,
    }


def of_failure(config: RunConfig, name: str, error: BaseException) -> dict[str, Any]:
    """That a scheduled run failed before it could decide anything."""
    what = f"{config.behaviour.name} on {model_name(config.model)}"
    return {
        "event": "run failed",
        "text": f"mascing: run failed: {what}: {one_line(error)}",
        "behaviour": config.behaviour.name,
        "model": model_name(config.model),
        "reasons": [one_line(error)],
        "run": name,
    }


def _event(check: ScheduledCheck) -> str | None:
    if check.live is not None and check.live.regressed:
        return "live mask regressed"
    if check.judges is not None and check.judges.gate == "fail":
        return "judge failed"
    if check.error is not None:
        return "line failed"
    if check.live is not None and check.live.routing.gate == "fail":
        return "routing drifted"
    if check.outcome == "promoted":
        return "mask promoted"
    return "candidate held" if check.outcome == "held" else None


def _missed(reasons: tuple[str, ...]) -> list[str]:
    return [reason for reason in reasons if missed_gates([reason])]
