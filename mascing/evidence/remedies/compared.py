"""One set of conversations, judged without and with a mask, as a gate compares it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.statistics.power import CORRELATION, POWER, Effect, conversations_needed

Row = Mapping[str, Any]
"""A row of the VERDICTS table (schemas/tables.py)."""

MOST_ROWS = 2000
"""The most test conversations that are named; an effect that needs more is too close to its limit to count on rows."""


@dataclass(frozen=True)
class Compared:
    """The verdicts on the same conversations of one set, ``before`` without and ``after`` with the mask."""

    name: str
    before: Sequence[Row]
    after: Sequence[Row]

    @cached_property
    def change(self) -> Rate:
        """The paired change of the rate, as the gates measure it."""
        return paired_difference(_outcomes(self.before), _outcomes(self.after), self._groups)

    @cached_property
    def unsteered(self) -> Rate:
        """The rate of the unsteered model."""
        return rate(_outcomes(self.before), self._groups)

    @cached_property
    def read(self) -> "Compared":
        """The conversations that the judge could read both times."""
        both = [
            (before, after)
            for before, after in zip(self.before, self.after, strict=True)
            if "unscored" not in (before["outcome"], after["outcome"])
        ]
        return Compared(self.name, [before for before, _ in both], [after for _, after in both])

    @cached_property
    def moved(self) -> tuple[float, float]:
        """The shares of read conversations that went from miss to hit, and from hit to miss."""
        pairs = list(zip(_outcomes(self.read.before), _outcomes(self.read.after), strict=True))
        return pairs.count(("miss", "hit")) / len(pairs), pairs.count(("hit", "miss")) / len(pairs)

    @property
    def unscored(self) -> tuple[list[Row], list[Row]]:
        """The verdicts that the judge could not give, without and with the mask."""
        before, after = ([row for row in rows if row["outcome"] == "unscored"] for rows in (self.before, self.after))
        return before, after

    @property
    def group_size(self) -> int:
        """The mean size of a group, rounded."""
        return max(1, round(len(self.before) / len(set(self._groups))))

    @property
    def _groups(self) -> list[str]:
        return [str(row["group_id"]) for row in self.before]

    def rows_needed(self, least: float) -> int | None:
        """The test conversations of which four in five splits reach ``least``, if the true change is the measured one.

        By the simulation of `mascing plan`; None if MOST_ROWS are too few.
        """
        effect = Effect(*self.moved, self.group_size, CORRELATION)
        return conversations_needed(effect, least, POWER, MOST_ROWS)

    def rows_for_floor(self, floor: float) -> int | None:
        """The same for the rate of the unsteered model to be surely above ``floor``."""
        effect = Effect(self.unsteered.value, 0.0, self.group_size, CORRELATION)
        return conversations_needed(effect, floor, POWER, MOST_ROWS)


def compared_sets(before: Iterable[Row], after: Iterable[Row]) -> dict[str, Compared]:
    """Every set of two tables that hold the same conversations, by name."""
    steered = {row["conversation_id"]: row for row in after}
    sets: dict[str, list[Row]] = {}
    for row in before:
        sets.setdefault(str(row["set"]), []).append(row)
    return {
        name: Compared(name, rows, [steered[row["conversation_id"]] for row in rows]) for name, rows in sets.items()
    }


def _outcomes(rows: Sequence[Row]) -> list[Outcome]:
    return [row["outcome"] for row in rows]
