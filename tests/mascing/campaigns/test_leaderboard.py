"""The leaderboard is a function of the cells: adjusted for all comparisons, and complete with what is missing."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.folder import CampaignFolder
from mascing.campaigns.leaderboard import Board, Outcome, leaderboard, ranking_table
from mascing.judges.calibrations.calibration import calibrated, write_calibration
from mascing.report.campaign_page import campaign_page
from mascing.schemas.campaign import FailedRun
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.statistics import holm
from mascing.storage import parquet
from tests.mascing.campaigns.made_up import board, cell
from tests.mascing.campaigns.test_used_judges import judged
from tests.mascing.report.page_parts import Page


def rows(of: Board) -> list[dict[str, Any]]:
    return list(leaderboard(of).to_pylist())


def test_every_planned_cell_has_a_row_with_its_state() -> None:
    found = rows(board())
    assert Counter(row["state"] for row in found) == {"finished": 18, "failed": 3, "waiting": 3}
    assert board().finished == 12
    assert board().planned == 16
    (failed, *_) = (row for row in found if row["state"] == "failed")
    assert failed["reason"] == "the model does not load: bring another"
    assert failed["uplift"] is None


def test_the_cells_alone_decide_the_bytes() -> None:
    made = board()
    backwards = Board(made.campaign, dict(reversed(list(made.outcomes.items()))))
    assert parquet.to_bytes(leaderboard(made)) == parquet.to_bytes(leaderboard(backwards))
    assert parquet.to_bytes(ranking_table(made)) == parquet.to_bytes(ranking_table(backwards))


def test_p_values_are_adjusted_for_every_comparison_that_the_campaign_plans() -> None:
    found = rows(board())
    raw = {(n, "p"): row["p"] if row["state"] == "finished" else 1.0 for n, row in enumerate(found)}
    raw |= {
        (n, "p_control"): row["p_control"] if row["state"] == "finished" else 1.0
        for n, row in enumerate(found)
        if row["method"] != "random"
    }
    adjusted = holm(raw)
    assert len(raw) == 24 + 16
    for n, row in enumerate(found):
        finished = row["state"] == "finished"
        assert row["holm_p"] == (pytest.approx(adjusted[n, "p"]) if finished else None)
        compared = finished and row["method"] != "random"
        assert row["holm_p_control"] == (pytest.approx(adjusted[n, "p_control"]) if compared else None)


def test_an_adjusted_p_value_only_falls_as_the_campaign_fills() -> None:
    made = board()
    first = made.campaign.runs[0]
    (early, *_) = rows(Board(made.campaign, {first.name: made.outcomes[first.name]}))
    (late, *_) = rows(made)
    assert early["p"] == late["p"]
    assert early["holm_p"] >= late["holm_p"] > late["p"]


def test_seeds_are_summed_up_with_their_spread() -> None:
    made = board()
    first, second, *_ = made.campaign.runs
    outcomes = {
        first.name: Outcome({"steermoe": cell(first, "steermoe", uplift=0.5)}),
        second.name: Outcome({"steermoe": cell(second, "steermoe", uplift=0.0)}),
    }
    (row, *_) = rows(Board(made.campaign, outcomes))
    assert (row["uplift_mean"], row["uplift_least"], row["uplift_most"], row["finished_seeds"]) == (0.25, 0.0, 0.5, 2)


def test_the_set_that_changes_for_the_worst_stands_for_its_kind() -> None:
    (row, *_) = rows(board())
    assert (row["utility_set"], row["utility"]) == ("utility/x", -0.02)
    assert row["protected_set"] == "protected/z"


def test_a_method_that_failed_is_told_beside_the_others() -> None:
    made = board()
    run = made.campaign.runs[0]
    outcome = Outcome({"steermoe": cell(run, "steermoe")}, FailedRun(methods={"mascing": "a confound"}))
    found = {row["method"]: row for row in rows(Board(made.campaign, {run.name: outcome}))[:3]}
    assert found["steermoe"]["state"] == "finished"
    assert (found["mascing"]["state"], found["mascing"]["reason"]) == ("failed", "a confound")
    assert [(method, why) for _, method, why in Board(made.campaign, {run.name: outcome}).failed] == [
        ("mascing", "a confound")
    ]


def test_a_calibrated_judge_has_its_uplift_corrected_beside_the_raw_one(tmp_path: Path) -> None:
    said, heard = ["hit", "miss"] * 20, ["hit", "miss", "miss", "miss"] * 10
    found = calibrated(RefusalJudge(), heard, said, [f"g{n}" for n in range(40)], "0", "human")  # type: ignore[arg-type]
    write_calibration(tmp_path / "judge.json", found)
    made, judge = board(), RefusalJudge(calibration=str(tmp_path / "judge.json"))
    runs = tuple(judged(run, {"target": judge} if run.behaviour == "defence" else {}) for run in made.campaign.runs)
    shown = rows(Board(made.campaign.model_copy(update={"runs": runs}), made.outcomes))
    assert found.sensitivity.value + found.specificity.value - 1 == 0.5
    for row in (row for row in shown if row["state"] == "finished"):
        expected = min(1.0, row["uplift"] / 0.5) if row["behaviour"] == "defence" else None
        assert row["uplift_corrected"] == (expected if expected is None else pytest.approx(expected))
    assert shown[0]["uplift_corrected_low"] < shown[0]["uplift_corrected"] <= shown[0]["uplift_corrected_high"]


def test_behind_a_judge_that_may_be_a_coin_the_corrected_uplift_is_shown_as_unknown(tmp_path: Path) -> None:
    said, heard = ["hit", "miss"] * 20, ["hit", "hit", "miss", "miss"] * 9 + ["hit", "miss"] * 2
    found = calibrated(RefusalJudge(), heard, said, [f"g{n}" for n in range(40)], "0", "human")  # type: ignore[arg-type]
    assert 0 < found.sensitivity.value + found.specificity.value - 1 < 0.2
    write_calibration(tmp_path / "judge.json", found)
    made, judge = board(), RefusalJudge(calibration=str(tmp_path / "judge.json"))
    runs = tuple(judged(run, {"target": judge} if run.behaviour == "defence" else {}) for run in made.campaign.runs)
    of_a_coin = Board(made.campaign.model_copy(update={"runs": runs}), made.outcomes)
    page = Page(campaign_page(CampaignFolder("made-up-0123456789abcdef"), of_a_coin, {}))
    header, *shown = page.table("Every cell; differences in percentage points with 95% intervals")
    cells = [dict(zip(header, row, strict=True)) for row in shown]
    told = {cell["Behaviour"]: cell["Corrected uplift"] for cell in cells}
    assert told == {"defence": "unknown: the judge's calibration leaves all open", "policy": "–"}
