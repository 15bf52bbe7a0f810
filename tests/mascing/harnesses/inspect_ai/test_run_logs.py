"""The logs of a run, as Inspect's own reader has them."""

from pathlib import Path

import pytest
from inspect_ai.log import EvalLog, read_eval_log

from mascing.cli import main
from mascing.storage.object_storage import Storage
from tests.mascing.report.run_on_disk import RAW, THOUGHT, made_up_conversations, write_run

UNSCORED = ("gradient", "target-000")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EvalLog]:
    folder = tmp_path_factory.mktemp("run")
    write_run(Storage.open(str(folder / "s")), replies={UNSCORED: ("well", "unscored")})
    assert main(["report", "--inspect-log", str(folder / "logs"), "--storage", str(folder / "s")]) == 0
    read = [read_eval_log(str(path)) for path in (folder / "logs").glob("*.eval")]
    return {log.eval.metadata["mascing"]["method"]: log for log in read if log.eval.metadata}


def test_there_is_one_log_for_each_method(logs: dict[str, EvalLog]) -> None:
    assert logs.keys() == {"baseline", "mascing", "steermoe", "gradient", "random"}
    digests = {method: log.eval.metadata["mascing"]["mask_digest"] for method, log in logs.items() if log.eval.metadata}
    assert digests.pop("baseline") is None
    assert len(set(digests.values())) == 4
    assert {log.eval.task for log in logs.values()} == {f"jailbreak-defence: {method}" for method in logs}


def test_a_sample_has_the_conversation_the_reply_and_its_verdict(logs: dict[str, EvalLog]) -> None:
    samples = {sample.id: sample for sample in logs["gradient"].samples or []}
    for conversation in made_up_conversations():
        sample = samples.pop(conversation.id)
        asked = [(message.role, message.text) for message in sample.messages[:-1]]
        assert asked == [(message.role, message.content) for message in conversation.messages]
        assert sample.messages[-1].text == sample.output.completion
        assert sample.metadata["set"] == conversation.set
        assert sample.metadata["group_id"] == conversation.group_id
        assert sample.scores
        verdict = sample.scores["verdict"]
        assert verdict.explanation == f"{verdict.value}: opening compared with the phrases\n\n{RAW}"
        assert verdict.metadata == {"raw": RAW, "cost": 0.001}
    assert samples == {}


def test_a_judge_that_says_nothing_has_a_reason_alone(logs: dict[str, EvalLog]) -> None:
    verdicts = [sample.scores["verdict"] for sample in logs["mascing"].samples or [] if sample.scores]
    assert {verdict.explanation for verdict in verdicts} == {
        f"{outcome}: opening compared with the phrases" for outcome in ("hit", "miss")
    }
    assert not any(verdict.metadata for verdict in verdicts)


def test_unscored_is_neither_hit_nor_miss_and_a_thought_is_no_reply(logs: dict[str, EvalLog]) -> None:
    samples = {sample.id: sample for sample in logs["gradient"].samples or []}
    sample = samples["target-000"]
    assert sample.scores
    assert sample.scores["verdict"].value == "unscored"
    assert sample.output.completion == "well"
    content = sample.messages[-1].content
    assert not isinstance(content, str)
    assert [part.type for part in content] == ["reasoning", "text"]
    assert content[0].reasoning == THOUGHT


def test_the_rates_are_those_of_the_samples(logs: dict[str, EvalLog]) -> None:
    log = logs["mascing"]
    assert log.results
    target = log.results.scores[0].metrics["target"]
    values = [s.scores["verdict"].value for s in log.samples or [] if s.scores and s.metadata["set"] == "target"]
    assert target.value == pytest.approx(values.count("hit") / len(values))
    assert target.metadata
    assert target.metadata["low"] < target.value < target.metadata["high"]


def test_a_run_that_judged_nothing_has_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Storage.open(str(tmp_path)), leave_out=["evaluate"])
    assert main(["report", "--inspect-log", str(tmp_path / "logs"), "--storage", str(tmp_path)]) == 1
    assert "judged nothing on the test split" in capsys.readouterr().err
