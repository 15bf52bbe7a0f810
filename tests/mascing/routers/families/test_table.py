import json

from tests.mascing.routers.families.outcomes import COMMITTED
from tests.mascing.routers.families.table import DOCS, render


def test_the_committed_page_shows_the_committed_outcomes() -> None:
    findings = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert (DOCS / "families.md").read_text(encoding="utf-8") == render(findings)
