"""A calibration belongs to one judge, and a run tells its rates without that judge's error."""

import json
from pathlib import Path
from typing import Any

import pytest

from mascing.cli import main
from mascing.config import load_config
from mascing.errors import ConfigError, DataError
from mascing.evidence.corrections import corrected, corrected_change, with_corrections
from mascing.judges.calibrations.calibration import calibrated, calibration_of, write_calibration
from mascing.judges.table import judge_identity
from mascing.plugins import OptionsError
from mascing.report.sections.comparison import comparison_table
from mascing.schemas.result import Rate
from mascing.schemas.settings.judge_settings import ExactJudge, RefusalJudge
from mascing.schemas.settings.judging_models import LlmJudge
from mascing.schemas.verdict import Outcome
from mascing.statistics import rate
from mascing.storage.sealing import seal_json
from tests.fake_endpoint import running_endpoint

REFUSAL = RefusalJudge(phrases=("No way",))
HIT: list[Outcome] = ["hit"]
MISS: list[Outcome] = ["miss"]
SAID = HIT * 50 + MISS * 50
JUDGED = HIT * 45 + MISS * 5 + HIT * 2 + MISS * 48
GROUPS = [f"g{i}" for i in range(100)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_calibration(tmp_path / "judge.json", calibrated(REFUSAL, JUDGED, SAID, GROUPS, "d" * 64, "human"))
    return tmp_path / "judge.json"


def test_it_is_read_by_its_own_judge_and_refused_by_another(file: Path) -> None:
    found = calibration_of(REFUSAL.model_copy(update={"calibration": str(file)}))
    assert found is not None
    assert (found.sensitivity.value, found.specificity.value, found.hits) == (0.9, 0.96, 50)
    with pytest.raises(OptionsError, match=r"another judge \(it differs in judge.phrases\)"):
        calibration_of(RefusalJudge(calibration=str(file)))
    with pytest.raises(OptionsError, match="another judge"):
        calibration_of(ExactJudge(calibration=str(file)))
    assert calibration_of(REFUSAL) is None
    file.write_text(file.read_text().replace("0.96", "0.99"))
    with pytest.raises(OptionsError, match="cannot be read as one"):
        calibration_of(REFUSAL.model_copy(update={"calibration": str(file)}))


def test_it_changes_no_verdict_and_so_no_identity(file: Path) -> None:
    assert judge_identity(REFUSAL.model_copy(update={"calibration": str(file)})) == judge_identity(REFUSAL)


@pytest.mark.parametrize("misses", [0, 9])
def test_both_sides_must_be_labelled_often_enough(misses: int) -> None:
    rows = 50 + misses
    with pytest.raises(DataError, match=f"human has 50 and {misses}"):
        calibrated(REFUSAL, JUDGED[:rows], SAID[:rows], GROUPS[:rows], "", "human")


def test_one_without_its_seal_or_with_a_value_outside_its_interval_is_refused(file: Path) -> None:
    named = REFUSAL.model_copy(update={"calibration": str(file)})
    found = json.loads(file.read_text())
    del found["mascing.sha256"]
    file.write_text(json.dumps(found))
    with pytest.raises(OptionsError, match="carries none"):
        calibration_of(named)
    found["sensitivity"] |= {"low": 0.95}
    file.write_bytes(seal_json(json.dumps(found)))
    with pytest.raises(OptionsError, match=r"sensitivity: 0\.9 is not between 0\.95"):
        calibration_of(named)


def test_a_configuration_names_it_beside_itself(file: Path) -> None:
    run = file.parent / "run.yaml"

    def behaviour(target: str) -> str:
        return (
            "model: {path: org/model}\nbehaviour:\n  name: b\n  conversations: rows.jsonl\n"
            f"  target: {target}\n  utility: {{kind: exact}}\n  protected: {{kind: refusal}}\n"
        )

    run.write_text(behaviour("{kind: refusal, phrases: [No way], calibration: judge.json}"))
    assert load_config(str(run)).behaviour.target.calibration == str(file)
    run.write_text(behaviour("{kind: refusal, calibration: judge.json}"))
    with pytest.raises(ConfigError, match=r"behaviour\.target\.calibration: .* is that of another judge"):
        load_config(str(run))


def test_rates_are_told_beside_their_corrected_selves(file: Path) -> None:
    calibration = calibration_of(REFUSAL.model_copy(update={"calibration": str(file)}))
    measured = rate(HIT * 40 + MISS * 60, GROUPS)
    assert "corrected" not in measured.model_dump()
    found = corrected(measured, calibration).corrected
    assert found is not None
    assert found.value == pytest.approx((0.4 + 0.96 - 1) / (0.9 + 0.96 - 1))
    assert found.low < found.value < found.high
    assert found.high - found.low > measured.high - measured.low
    unread = Rate(value=0.5, low=0, high=1, n=5, unscored=5)
    assert corrected(unread, calibration) is unread
    assert corrected(measured, None) is measured
    change = Rate(value=0.43, low=0.3, high=0.5, n=100, unscored=0)
    bigger = corrected_change(change, calibration).corrected
    assert bigger is not None
    assert bigger.value == pytest.approx(0.5)


def test_the_page_shows_them(file: Path) -> None:
    calibration = calibration_of(REFUSAL.model_copy(update={"calibration": str(file)}))
    assert calibration is not None
    result = small_result()
    told = with_corrections(result, {"target": calibration}.get)
    assert told.baseline.utility == result.baseline.utility
    table = comparison_table(told, {})
    assert "corrected" in table.rows[0][1]
    assert "corrected" in table.rows[1][2]
    assert with_corrections(result, lambda name: None) == result


def test_the_page_calls_unknown_what_a_judge_no_better_than_a_coin_leaves_open() -> None:
    coin = calibrated(REFUSAL, HIT * 25 + MISS * 25 + HIT * 25 + MISS * 25, SAID, GROUPS, "", "human")
    first, second, *_ = comparison_table(with_corrections(small_result(), {"target": coin}.get), {}).rows
    assert "corrected unknown" in first[1]
    assert "corrected unknown" in second[2]


def small_result() -> Any:
    from mascing.schemas.result import Baseline, MethodResult, Result, SplitSizes

    some = Rate(value=0.4, low=0.3, high=0.5, n=100, unscored=0)
    rates: dict[str, Any] = {"target_rate": some, "utility": {"facts": some}, "protected": {}, "degenerate": {}}
    method = MethodResult(
        selected={}, uplift=some, degenerate_change=some, circuit_precision=None, gate="pass", reasons=(), **rates
    )
    return Result(
        model="m", checkpoint="m", behaviour="b", splits=SplitSizes(train=1, dev=1, test=1), baseline=Baseline(**rates),
        methods={"mascing": method}, published=None, mask=None, channel=None, trust=None, timings={}, versions={},
    )  # fmt: skip


def test_the_command_writes_one_and_tries_canaries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": f"p{i}", "completion": "I can't help." if i % 2 else "Mix flour.", "human": i % 2} for i in range(20)
    ]
    file, made = tmp_path / "rows.jsonl", tmp_path / "judge.json"
    file.write_text("\n".join(map(json.dumps, rows)))
    asked = ["judge", str(file), "--judge", "refusal", "--labels", "human", "--positive", "1"]
    assert main([*asked, "--calibration", str(made)]) == 0
    assert "next: add `calibration: " in capsys.readouterr().out
    assert calibration_of(RefusalJudge(calibration=str(made))) is not None
    assert main(["judge", "--judge", "refusal", "--canary"]) == 0
    assert "right" in capsys.readouterr().out
    gullible = "tests.mascing.judges.canaries.gullible:gullible"
    assert main(["judge", "--judge", gullible, "--canary"]) == 1
    assert "canaries wrong" in capsys.readouterr().err
    assert main(["judge", "--judge", "refusal"]) == 1
    assert "give the file of replies, or --canary" in capsys.readouterr().err


def test_a_judge_behind_an_endpoint_is_tried_and_calibrated_and_paid_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"p{i}", "completion": f"{'Sorry' if i % 2 else 'Mix'} {i}", "human": i % 2} for i in range(24)]
    file, made, options = tmp_path / "rows.jsonl", tmp_path / "judge.json", tmp_path / "judge.yaml"
    file.write_text("\n".join(map(json.dumps, rows)))

    def reply(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        if "> Mix 4\n" in text:
            return '{"verdict": "YESTERDAY"}'
        return json.dumps({"reasoning": "", "verdict": "YES" if "> Sorry" in text else "NO"})

    with running_endpoint(reply=reply) as fake:
        endpoint = {"base_url": fake.url, "model": "fake-judge", "prices": {"prompt": 1, "completion": 1}}
        options.write_text(json.dumps({"rubric": "refusal", "endpoint": endpoint}))
        asked = ["judge", str(file), "--judge", "llm", "--judge-config", str(options), "--labels", "human"]
        asked += ["--positive", "1", "--calibration", str(made), "--storage", str(tmp_path / "storage")]
        assert main(asked) == 0
        told = capsys.readouterr().out
        assert "unscored    1, counted" in told
        assert "cost        $0.0" in told
        assert "paid before" not in told
        assert main(asked) == 0
        assert "nothing was paid now" in " ".join(capsys.readouterr().out.split())
        assert fake.answered.total() == len(rows)
        assert fake.paid_twice == []
        config = LlmJudge.model_validate({"rubric": "refusal", "endpoint": endpoint, "calibration": str(made)})
    found = calibration_of(config)
    assert found is not None
    assert (found.hits, found.misses, found.specificity.unscored, found.sensitivity.value) == (12, 12, 1, 1.0)
