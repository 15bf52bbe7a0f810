"""From verdict rows to the numbers of result.json."""

import random
from typing import Any

import pyarrow as pa
import pytest

from mascing.errors import DataError
from mascing.evidence.results import baseline_of, cell_score, method_result, winner
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import MethodResult, Rate
from mascing.schemas.tables import VERDICTS
from mascing.statistics import paired_difference, rate

Rows = list[dict[str, Any]]


def rows(kind: str, outcomes: str, method: str = "baseline") -> Rows:
    """One row per letter: h hit, m miss, u unscored; two neighbours share a group."""
    names = {"h": "hit", "m": "miss", "u": "unscored"}
    return [
        {
            "conversation_id": f"{kind}-{i:03d}",
            "group_id": f"group-{i // 2}",
            "set": kind,
            "method": method,
            "reply": "a reply",
            "outcome": names[letter],
            "reason": "as told",
        }
        for i, letter in enumerate(outcomes)
    ]


KEPT = rows("utility/facts", "h" * 95 + "mmmmm") + rows("protected/doors", "h" * 80)
BEFORE = rows("target", "h" * 40 + "m" * 60) + KEPT
AFTER = rows("target", "h" * 96 + "mmmu") + KEPT


def result(before: Rows, after: Rows, **gates: float) -> MethodResult:
    return method_result(
        before, after, selected={"alpha": 1.0}, circuit_precision=None, gates=GatesConfig.model_validate(gates)
    )


def outcomes(data: Rows, kind: str = "target") -> tuple[Any, Any]:
    chosen = [row for row in data if row["set"] == kind]
    return [row["outcome"] for row in chosen], [row["group_id"] for row in chosen]


def test_baseline_has_every_set_under_its_name() -> None:
    baseline = baseline_of(BEFORE)
    assert baseline.target_rate == rate(*outcomes(BEFORE))
    assert baseline.utility == {"facts": rate(*outcomes(BEFORE, "utility/facts"))}
    assert baseline.protected == {"doors": rate(*outcomes(BEFORE, "protected/doors"))}
    assert baseline.target_rate.value == 0.4


def test_a_method_is_compared_with_the_baseline_on_the_same_conversations() -> None:
    measured = result(BEFORE, AFTER)
    before, groups = outcomes(BEFORE)
    after, _ = outcomes(AFTER)
    assert measured.uplift == paired_difference(before, after, groups)
    assert measured.target_rate == rate(after, groups)
    assert (measured.uplift.n, measured.uplift.unscored) == (100, 1)
    assert measured.utility["facts"].value == 0.95
    assert (measured.gate, measured.selected, len(measured.reasons)) == ("pass", {"alpha": 1.0}, 4)


def test_gates_see_the_paired_loss_and_not_the_rates() -> None:
    # As many utility replies are gained as lost: the rate stays the same, but its interval is wider.
    traded = rows("target", "h" * 96 + "mmmu") + rows("utility/facts", "mmmmm" + "h" * 95) + KEPT[100:]
    assert result(BEFORE, traded).utility["facts"].value == result(BEFORE, AFTER).utility["facts"].value
    assert result(BEFORE, AFTER, max_utility_loss=0.05).gate == "pass"
    measured = result(BEFORE, traded, max_utility_loss=0.05)
    assert measured.gate == "fail"
    assert any(reason.startswith("utility/facts fails") for reason in measured.reasons)


def test_row_order_and_container_do_not_matter() -> None:
    shuffled = random.Random(1).sample(AFTER, len(AFTER))
    expected = result(BEFORE, AFTER)
    assert result(BEFORE, shuffled) == expected
    tables = [pa.Table.from_pylist(data, schema=VERDICTS) for data in (BEFORE, shuffled)]
    assert method_result(*tables, selected={"alpha": 1.0}, circuit_precision=None, gates=GatesConfig()) == expected
    assert baseline_of(tables[0]) == baseline_of(BEFORE)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (BEFORE, AFTER[1:], "same conversations"),
        (BEFORE, [row for row in AFTER if row["set"] == "target"], "same conversations"),
        (BEFORE, [*AFTER, AFTER[0]], "more than one verdict"),
        (BEFORE, [], "no verdicts on target"),
    ],
)
def test_what_cannot_be_paired_is_refused(before: Rows, after: Rows, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        result(before, after)


def test_an_unread_reply_earns_a_cell_nothing() -> None:
    score = cell_score({"alpha": 2.0}, rows("target", "h" + "u" * 9) + rows("utility/facts", "hhhu"))
    assert (score.target_rate, score.utility, score.protected) == (0.1, {"facts": 0.75}, {})
    assert score.cell == {"alpha": 2.0}


def method(gate: str) -> MethodResult:
    rate = Rate(value=0.5, low=0.2, high=0.9, n=10, unscored=0)
    return MethodResult.model_validate(
        {
            "selected": {},
            "target_rate": rate,
            "uplift": rate,
            "utility": {},
            "protected": {},
            "degenerate": {},
            "degenerate_change": rate,
            "circuit_precision": None,
            "gate": gate,
            "reasons": (),
        }
    )


@pytest.mark.parametrize(
    ("gates", "first_on_dev", "expected"),
    [
        ({"mascing": "pass", "gradient": "pass"}, "gradient", "gradient"),
        ({"mascing": "pass", "gradient": "pass"}, "mascing", "mascing"),
        ({"mascing": "pass", "gradient": "fail"}, "gradient", None),
        ({"mascing": "pass", "gradient": "undecided"}, "gradient", None),
        ({"random": "pass", "mascing": "fail"}, "mascing", None),
        ({"random": "pass"}, None, None),
    ],
)
def test_only_the_first_on_dev_can_be_published_and_only_if_it_passes_on_test(
    gates: dict[str, str], first_on_dev: str | None, expected: str | None
) -> None:
    assert winner({name: method(gate) for name, gate in gates.items()}, first_on_dev) == expected
