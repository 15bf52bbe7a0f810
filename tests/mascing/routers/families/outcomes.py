"""What the family tests found, kept in ``docs/families.json``: the source of the table in the docs.

A test calls :func:`expect` with what it found. Usually that must equal what is committed; while
``python -m tests.mascing.routers.families.table`` runs the tests, it is collected instead.
"""

import json
from pathlib import Path

COMMITTED = Path(__file__).parents[4] / "docs" / "families.json"
collected: dict[str, dict[str, str]] = {}
collecting: list[bool] = []


def expect(family: str, check: str, outcome: str) -> None:
    if collecting:
        collected.setdefault(family, {})[check] = outcome
        return
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed.get(family, {}).get(check) == outcome, (
        f"docs/families.json differs for {family}, {check}: run python -m tests.mascing.routers.families.table"
    )
