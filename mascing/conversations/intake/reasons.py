"""Count the reasons for which rows cannot be used: one entry per kind of reason, with the first row numbers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mascing.conversations.intake.rows import Quarantined

_ROWS_SHOWN = 3
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""What differs between reasons of one kind: names, values, numbers."""


@dataclass
class Reason:
    """A kind of reason for which rows cannot be used: the first one's words, how many, and their first row numbers."""

    text: str
    count: int = 0
    rows: list[int] = field(default_factory=list)

    def told(self, unit: str) -> str:
        """The reason on one line; ``unit`` is what the row numbers count: lines or rows."""
        rows = ", ".join(map(str, self.rows)) + (", …" if self.count > len(self.rows) else "")
        return f"{self.count} x {self.text} ({unit}{'s' if self.count > 1 else ''} {rows})"


class Reasons:
    """The reasons so far, by kind."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Reason] = {}

    def add(self, row: Quarantined) -> None:
        """Count a row that cannot be used."""
        reason = self._by_kind.setdefault(_PARTICULAR.sub("", row.reason), Reason(row.reason))
        reason.count += 1
        if len(reason.rows) < _ROWS_SHOWN:
            reason.rows.append(row.row)

    @property
    def total(self) -> int:
        """Number of rows that cannot be used."""
        return sum(reason.count for reason in self._by_kind.values())

    def most_frequent(self) -> list[Reason]:
        """All kinds of reasons, the most frequent first."""
        return sorted(self._by_kind.values(), key=lambda reason: -reason.count)


def summary(rows: Iterable[Quarantined], unit: str, most: int = 3) -> str:
    """The most frequent reasons with their counts and rows, on one line."""
    reasons = Reasons()
    for row in rows:
        reasons.add(row)
    counted = reasons.most_frequent()
    shown = "; ".join(reason.told(unit) for reason in counted[:most])
    more = f"; and {len(counted) - most} more reasons" if len(counted) > most else ""
    return f"{shown}{more}"
