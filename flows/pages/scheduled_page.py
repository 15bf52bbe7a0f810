"""What Prefect's page of a scheduled run shows: the checks as a table, the live mask's rate so far as a picture."""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence

from prefect.artifacts import create_image_artifact, create_link_artifact, create_table_artifact

from mascing.runs.run_folder import RunFolder
from mascing.schemas.cards.scheduled_check import MaskStanding, ScheduledCheck
from mascing.schemas.result import Rate
from mascing.storage.object_storage import Storage

_WIDTH, _HEIGHT, _MARGIN = 640, 200, 36
_SHOWN = 60
"""The latest checks of the picture."""


def show_check(storage: Storage, check: ScheduledCheck, earlier: Sequence[ScheduledCheck]) -> None:
    """Show a check; ``earlier`` are those of the same model and behaviour, the oldest first, and may hold it too."""
    key = re.sub("[^a-z0-9]+", "-", f"{check.behaviour}-{check.checkpoint}".lower())
    create_table_artifact(list(_rows(check)), key=f"schedule-{key}", description=_headline(check))
    if check.run is not None:
        page = RunFolder(check.run).page
        create_link_artifact(storage.web_address(page), key=f"schedule-report-{key}", link_text=storage.locate(page))
    if rates := [one.live.rates["target"] for one in earlier if one.live and "target" in one.live.rates]:
        create_image_artifact(
            f"data:image/svg+xml;base64,{b64encode(picture(rates[-_SHOWN:]).encode()).decode()}",
            key=f"schedule-rate-{key}",
            description=f"target rate of the live mask in the last {len(rates[-_SHOWN:])} checks, with 95% intervals",
        )


def picture(rates: Sequence[Rate]) -> str:
    """Rates with their intervals from left to right, as SVG."""
    inner = _WIDTH - 2 * _MARGIN

    def down(rate: float) -> float:
        return _MARGIN + (1 - rate) * (_HEIGHT - 2 * _MARGIN)

    marks = []
    for number, rate in enumerate(rates):
        x = _MARGIN + inner * (number + 0.5) / len(rates)
        marks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{down(rate.low):.1f}" y2="{down(rate.high):.1f}" stroke="#2f7bbf"/>'
            f'<circle cx="{x:.1f}" cy="{down(rate.value):.1f}" r="3" fill="#2f7bbf"/>'
        )
    lines = "".join(
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{down(share):.1f}" y2="{down(share):.1f}" stroke="#ccc"/>'
        f'<text x="2" y="{down(share) + 4:.1f}" font-size="11" fill="#555">{share:.0%}</text>'
        for share in (0, 0.5, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{lines}{"".join(marks)}</svg>'
    )


def _headline(check: ScheduledCheck) -> str:
    changed = f"; changed since the last check: {', '.join(check.changed)}" if check.changed else ""
    alarm = "THE LIVE MASK REGRESSED. " if check.alarming else ""
    return f"{alarm}{check.behaviour}@{check.channel}: {check.outcome}{changed}"


def _rows(check: ScheduledCheck) -> Iterator[dict[str, str]]:
    """A row for each decision, those that do not pass first in each part."""
    parts: list[tuple[str, str, Sequence[str]]] = []
    for role, standing in (("live", check.live), ("candidate", check.candidate)):
        if standing is not None:
            parts += [(role, standing.mask, reasons) for reasons in _reasons(standing)]
    if check.judges is not None:
        parts.append(("judges", "", check.judges.reasons))
    parts.append(("decision", check.outcome, check.reasons))
    if check.error:
        parts.append(("line", "failed", (check.error,)))
    for role, mask, reasons in parts:
        for reason in sorted(reasons, key=lambda reason: " passes" in reason.partition(":")[0]):
            checked, _, numbers = reason.partition(": ")
            yield {"of": role, "mask": mask, "check": checked, "numbers": numbers}


def _reasons(standing: MaskStanding) -> Iterator[Sequence[str]]:
    yield standing.reasons
    yield standing.drift_reasons
    yield standing.routing.reasons
