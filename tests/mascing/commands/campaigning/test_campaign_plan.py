"""What `mascing campaign` says before it starts: the grid, what stands in the way, and what it will cost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.leaderboard import leaderboard
from mascing.cli import main
from mascing.commands.campaigning import plan_shown
from mascing.config import load_campaign
from mascing.errors import ConfigError
from mascing.preflight.campaign_cost import replies_of
from mascing.preflight.checks import preflight
from mascing.preflight.judging_cost import Bill, bills_of, canary_bill
from mascing.schemas.campaign import StageSeconds
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from tests.flows.coin_campaign import parts_in
from tests.mascing.campaigns.made_up import board


def written(folder: Path, parts: dict[str, Any]) -> str:
    (folder / "campaign.yaml").write_text(json.dumps(parts))
    return str(folder / "campaign.yaml")


def test_a_dry_run_prints_grid_and_estimate_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, storage = written(tmp_path, parts_in(tmp_path)), tmp_path / "s"
    assert main(["campaign", path, "--dry-run", "--storage", str(storage)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "coins: 1 model x 1 behaviour x 1 method (steermoe) x 2 seeds (0, 1), 2 cells"
    [left] = [line for line in said if line.startswith("left to do: 2 runs; at most ")]
    replies = int(re.findall(r"at most ([\d,]+) replies", left)[0].replace(",", ""))
    assert f"tokens generated at most: {3 * replies:,}" in said
    assert said[-1] == f"next: mascing campaign {path} --storage {storage}"
    assert any(line.startswith(f"the campaign will be kept in: {storage}/campaigns/coins-") for line in said)
    assert not storage.exists()


def test_a_dry_run_tells_of_every_judge_and_asks_only_those_by_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = parts_in(tmp_path)
    endpoint = {"kind": "openai", "model": "m", "prices": {"prompt": 1.0, "completion": 2.0}}
    paid = {"kind": "llm", "rubric": "refusal", "endpoint": endpoint}
    parts["behaviours"]["b"]["behaviour"] |= {"utility": {"kind": "refusal"}, "protected": paid}
    del parts["allow_failing_judges"]
    assert main(["campaign", written(tmp_path, parts), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "judge refusal (utility of b): not calibrated" in said
    assert "to calibrate a judge: mascing judge FILE" in said
    assert "tried on the canary set when the campaign starts: tests.tasks.coin_judge:coin (target of b" in said
    assert "llm (protected of b)" in said
    assert "the price is not known: tests.tasks.coin_judge:coin, a judge of your own" in said


def test_a_dry_run_tells_what_paid_judgements_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = parts_in(tmp_path)
    endpoint = {"kind": "openai", "model": "m", "prices": {"prompt": 1.0, "completion": 2.0}}
    parts["behaviours"]["b"]["behaviour"]["target"] = {"kind": "llm", "rubric": "refusal", "endpoint": endpoint}
    path = written(tmp_path, parts)
    assert main(["campaign", path, "--dry-run"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("judgements at endpoints")]
    config = load_campaign(path).runs[0].config
    found = preflight(config)
    assert found.rows is not None
    bills = bills_of(config, found.rows)
    both_seeds = sum(bills.values(), sum((bill for stage, bill in bills.items() if stage != "label"), Bill()))
    canaries = canary_bill([config.behaviour.target])
    assert canaries.judgements > 0
    both_seeds += canaries
    assert f"{both_seeds.most_tokens:,.0f} tokens and ${both_seeds.most_dollars:,.2f}; about " in line
    assert both_seeds.about_dollars > 0


def test_what_stands_in_the_way_is_told_once_for_all_its_runs_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = parts_in(tmp_path)
    (tmp_path / "broken").mkdir()
    parts["models"]["broken"] = {"model": {"path": str(tmp_path / "broken")}}
    assert main(["campaign", written(tmp_path, parts), "--dry-run"]) == 1
    said = capsys.readouterr().out
    assert said.count("problem: broken with every behaviour: ") == 1
    assert "cannot work" in said
    assert "left to do: 2 runs" in said


def test_labels_are_counted_once_for_all_seeds(tmp_path: Path) -> None:
    campaign = load_campaign(written(tmp_path, parts_in(tmp_path)))
    config = campaign.runs[0].config
    found = preflight(config)
    assert found.rows is not None
    alone = replies_of(config, found.rows)
    assert alone["label"] == 80
    # A grid this small takes more than its budget: four candidates twice, and pick and control on all of dev.
    assert alone["select"] == (2 * 4 + 2) * found.rows.sets["dev"].total()
    plan = plan_shown._plan(campaign)
    both = plan_shown._replies(campaign.runs, plan, plan_shown._made(campaign.runs, {}))
    assert both["label"] == 80
    assert both["evaluate"] == 2 * alone["evaluate"] == 2 * 2 * found.rows.sets["test"].total()


def test_time_is_that_of_finished_stages_of_the_same_model() -> None:
    runs = board().campaign.runs[:2]
    made = plan_shown._made(runs, {runs[1].name: {"gate"}})
    assert "not known" in plan_shown._time(runs, made, {}, {})
    seconds = {
        f"{stage}/{model}": StageSeconds(model=model, stage=stage, seconds=spent)
        for model, stage, spent in (
            ("a", "label", 60),
            ("a", "select", 120),
            ("a", "gate", 60),
            ("b", "select", 9000),
        )
    }
    quick = {"label/a": StageSeconds(model="a", stage="label", seconds=0.2)}
    assert plan_shown._time(runs, made, quick, {}) == "time, by the stages that are finished: under 1 s"
    said = plan_shown._time(runs, made, seconds, {"label": 9, "optimise": 0, "select": 9, "evaluate": 9})
    assert said == (
        "time, by the stages that are finished: 6 min (select 4 min, label 1 min, gate 1 min); to this comes the time "
        "of evaluate, not known yet"
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seeds": [1, 1]}, "seeds: each seed once"),
        ({"models": {"a--b": {}}}, "a--b holds --, which stands between the parts of a run's name: write a-b"),
        ({"behaviours": {"b--c": {}}}, "write b-c"),
        ({"shared": {"seed": 3}}, "shared: seed cannot be set here"),
        ({"methods": {"steermo": {}}}, "all runs: methods.steermo: "),
        ({"shared": {"gates": {"min_uplift": "much"}}}, "all runs: gates.min_uplift: "),
        ({"published": [{"behaviour": "z", "method": "m", "source": "s"}]}, "the campaign has no z on any model"),
    ],
)
def test_a_campaign_that_cannot_be_read_says_where(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = written(tmp_path, parts_in(tmp_path) | change)
    with pytest.raises(ConfigError) as error:
        load_campaign(path)
    assert complaint in str(error.value)


def test_a_dry_run_plans_the_runs_that_can_be_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_in(tmp_path)
    odd = {**parts["behaviours"]["b"]["behaviour"], "target": {"kind": "unheard-of"}}
    path = written(tmp_path, parts | {"behaviours": {**parts["behaviours"], "odd": {"behaviour": odd}}})
    assert main(["campaign", path, "--dry-run"]) == 1
    said = capsys.readouterr().out
    assert "not in this plan: odd on every model: behaviour.target.kind: nothing is registered as 'unheard-of'" in said
    assert "problem: " not in said
    assert "next: mend in the file what is not in this plan" in said
    monkeypatch.setattr("mascing.configuring.campaign_file.ready_campaigns", lambda: {"odd-table": path})
    assert main(["campaign", "odd-table", "--dry-run"]) == 1
    said = capsys.readouterr().out
    assert f"next: copy {path}, mend in the copy what is not in this plan" in said
    assert said.endswith("and start that: mascing campaign odd-table.yaml\n")
    assert main(["campaign", path]) == 1  # a start that leaves runs out would be another campaign


def test_a_behaviour_goes_before_a_model_and_a_model_before_what_is_shared(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    parts["shared"] |= {"max_quarantined": 0.1, "gates": {"min_uplift": 0.3, "max_utility_loss": 0.3}}
    parts["models"]["tiny"]["gates"] = {"min_uplift": 0.2}
    parts["behaviours"]["b"]["max_quarantined"] = 0.2
    (run, _) = load_campaign(written(tmp_path, parts)).runs
    assert (run.config.gates.min_uplift, run.config.gates.max_utility_loss) == (0.2, 0.3)
    assert run.config.max_quarantined == 0.2
    assert list(run.config.methods.searched) == ["steermoe"]


def test_campaigns_are_listed_with_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage.open(str(tmp_path / "s"))
    storage.overwrite("campaigns/made-up-0/leaderboard.parquet", parquet.to_bytes(leaderboard(board())))
    assert main(["runs", "--storage", storage.url]) == 0
    assert "made-up-0  12 of 16 cells, 2 failed" in capsys.readouterr().out
