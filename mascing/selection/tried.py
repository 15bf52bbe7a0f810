"""What the race on dev showed of each candidate of a method, for those who ask what would have changed its pick."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.evidence.remedies.dev_search import STRENGTHS, DevSearch, Tried
from mascing.evidence.results import cell_score
from mascing.schemas.cards.dev_race import DevCell
from mascing.schemas.config import GatesConfig
from mascing.schemas.facts import SelectFacts
from mascing.selection.choice import HEADROOM, excess

Row = Mapping[str, Any]
"""A row of the VERDICTS table (schemas/tables.py)."""


def dev_search(
    method: str,
    facts: SelectFacts,
    verdicts: Mapping[int, Sequence[Row]],
    unsteered: Mapping[str, Row],
    gates: GatesConfig,
) -> DevSearch | None:
    """The search of a method on dev; None if it has no judged pick there, as the control.

    ``verdicts`` are those on dev by the number of the cell, and ``unsteered`` those on the unsteered model by
    conversation id. Each candidate is compared with the unsteered model on the conversations that it was judged on.
    """
    if method not in facts.picked:
        return None
    cells = [cell for cell in facts.cells if cell.method == method]
    judged = {
        number: _tried(cell, verdicts[number], unsteered, gates)
        for number, cell in enumerate(cells)
        if verdicts.get(number)
    }
    picked = facts.picked[method]
    if picked not in judged:
        return None
    return DevSearch(
        method=method,
        picked=judged[picked],
        others=tuple(tried for number, tried in judged.items() if number != picked),
        grid={strength: values for strength in STRENGTHS if (values := _values(cells, strength))},
        candidates=len(cells),
        headroom=HEADROOM,
    )


def _tried(cell: DevCell, rows: Sequence[Row], unsteered: Mapping[str, Row], gates: GatesConfig) -> Tried:
    before, after = cell_score({}, [unsteered[row["conversation_id"]] for row in rows]), cell_score(cell.cell, rows)
    changes = {"target": after.target_rate - before.target_rate}
    changes |= {f"utility/{name}": after.utility[name] - rate for name, rate in before.utility.items()}
    changes |= {f"protected/{name}": after.protected[name] - rate for name, rate in before.protected.items()}
    return Tried(cell.cell, len(rows), changes, excess(before, after, gates))


def _values(cells: Sequence[DevCell], strength: str) -> tuple[float, ...]:
    values = {value for cell in cells if isinstance(value := cell.cell.get(strength), int | float)}
    return tuple(sorted(values))
