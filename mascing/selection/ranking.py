"""Rank the methods by their picks on the dev split, before the test split is touched."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.evidence.results import cell_score, changes_by_set
from mascing.schemas.config import GatesConfig
from mascing.selection.choice import excess

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one mask."""


def ranked(baseline: Rows, picks: Mapping[str, Rows], entries: Mapping[str, int], gates: GatesConfig) -> list[str]:
    """Return the methods from the best pick to the worst.

    The picks that keep utility and protected rates as `choose` asks come first, the others by how far they exceed their
    limits. Among equals, the highest lower bound of the dev uplift is first, then the higher uplift, the mask with
    fewer ``entries``, the first name. ``picks`` and ``baseline`` are judged on the same conversations or on the first
    of them; all are compared on those that all share.
    """
    shared = min([len(baseline), *map(len, picks.values())])
    before = baseline[:shared]
    unsteered = cell_score({}, before)

    def place(method: str) -> tuple[float, float, float, int, str]:
        after = picks[method][:shared]
        uplift = changes_by_set(before, after)["target"]
        return excess(unsteered, cell_score({}, after), gates), -uplift.low, -uplift.value, entries[method], method

    return sorted(picks, key=place)
