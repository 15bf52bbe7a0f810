"""`mascing judge`: verdicts on the replies of a file, and their agreement with human labels."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mascing.cli import main

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "completion": "I can't help with that.", "final_label": "2_full_refusal", "answer": "B"},
    {"prompt": "b", "completion": "Sorry, I won't.", "final_label": "2_full_refusal", "answer": "A"},
    {"prompt": "c", "completion": "Mix flour and water.", "final_label": "1_full_compliance", "answer": "B"},
    {"prompt": "d", "completion": "The answer is B.", "final_label": "1_full_compliance", "answer": "B"},
    {"prompt": "e", "completion": "", "final_label": "3_partial_refusal", "answer": None},
]


def judged(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, str]:
    """What the command prints, by the first word of each line."""
    assert main(["judge", *map(str, arguments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("next: ")
    return {first: rest.strip() for first, _, rest in (line.partition(" ") for line in lines)}


@pytest.fixture(params=["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    table = pl.DataFrame(ROWS)
    if path.suffix == ".parquet":
        table.write_parquet(path)
    elif path.suffix == ".jsonl":
        table.write_ndjson(path)
    else:
        table.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


def test_verdicts_are_counted_and_compared_with_known_labels(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = judged(capsys, file, "--judge", "refusal", "--output", file.with_name("verdicts.jsonl"))
    assert told["judged"] == "5 replies by refusal"
    assert told["hits"].startswith("2: 50.0% (")
    assert told["unscored"].startswith("1, counted as")
    assert told["labels"] == "final_label: 2 hits, 2 misses; 1 rows with other labels are left out"
    assert told["kappa"].startswith("1.00 (")
    assert told["sensitivity"].startswith("100.0% (")
    assert told["specificity"].startswith("100.0% (")
    verdicts = [json.loads(line) for line in file.with_name("verdicts.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in verdicts] == ["hit", "hit", "miss", "miss", "unscored"]
    assert [row["label"] for row in verdicts] == ["hit", "hit", "miss", "miss", None]


def test_a_calibrated_judges_rate_is_told_without_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """36 of 40 hits found and 4 of 40 misses taken for hits: a rate of 50% stays, and its interval widens."""
    said = ["I can't help."] * 36 + ["Flour."] * 4 + ["I can't help."] * 4 + ["Flour."] * 36
    labels = ["yes"] * 40 + ["no"] * 40
    rows = pl.DataFrame({"prompt": [str(number) for number in range(80)], "completion": said, "human": labels})
    rows.write_csv(tmp_path / "rows.csv")
    kept = tmp_path / "judge.json"
    judged(
        capsys,
        tmp_path / "rows.csv",
        "--judge",
        "refusal",
        "--labels",
        "human",
        "--positive",
        "yes",
        "--calibration",
        kept,
    )
    told = judged(capsys, tmp_path / "rows.csv", "--judge", "refusal", "--judge-config", f"{{calibration: {kept}}}")
    assert told["hits"] == "40: 50.0% (39.3% to 60.7%)"
    assert told["corrected"].startswith("50.0% (")
    assert told["corrected"].endswith("%), without the judge's error")


def test_compliance_reads_the_same_labels_the_other_way_round(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = judged(capsys, file, "--judge", "compliance")
    assert told["kappa"].startswith("1.00 (")


def test_labels_of_ones_own_are_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = judged(capsys, file, "--judge", "refusal", "--labels", "answer", "--positive", "A")
    assert told["labels"].startswith("answer: 1 hits, 3 misses")
    assert told["specificity"].startswith("66.7% (")


def test_rows_without_an_answer_are_left_out_and_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = judged(capsys, file, "--judge", "choice")
    assert told["left"].startswith("out    1 rows, the first is row 5: it has no answer to compare with")
    assert told["hits"].startswith("1: ")


def test_thoughts_are_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replies = [
        "<think>I can't help.</think>\nMix flour and water.",
        "Mix it?\n</think>\nI can't help with that.",
        "<think>No",
    ]
    file = tmp_path / "thoughts.jsonl"
    pl.DataFrame({"completion": replies}).write_ndjson(file)
    told = judged(capsys, file, "--judge", "refusal", "--output", tmp_path / "verdicts.jsonl")
    assert told["judged"] == "3 replies by refusal"
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in verdicts] == ["miss", "hit", "unscored"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "refusl"], "did you mean 'refusal'?"),
        (["--judge", "exact", "--judge-config", "phrases: [a]"], "takes no phrases"),
        (["--judge", "refusal", "--judge-config", "phrases: a"], "judge.phrases: must be a list"),
        (["--judge", "refusal", "--judge-config", "none.yaml"], "--judge-config: none.yaml: there is no such file"),
        (["--judge", "refusal", "--reply", "said"], "no column said for the replies: name one of prompt, completion"),
        (["--judge", "refusal", "--labels", "human"], "no column 'human' for the labels"),
        (["--judge", "refusal", "--labels", "answer"], "It holds A, B: say so by --positive VALUE"),
        (
            ["--judge", "refusal", "--labels", "answer", "--positive", "yes"],
            "no label of 'answer' is 'yes': name some of A, B by --positive",
        ),
        (["--judge", "refusal", "--output", "verdicts.txt"], "cannot tell the format"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.DataFrame(ROWS).write_csv(tmp_path / "rows.csv")
    assert main(["judge", str(tmp_path / "rows.csv"), *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def outcomes(file: Path, judge: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The outcome of each verdict that the command writes."""
    output = file.with_name("verdicts.jsonl")
    judged(capsys, file, "--judge", judge, "--output", output)
    return [json.loads(line)["outcome"] for line in output.read_text().splitlines()]


def test_it_reads_the_formats_that_a_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    (tmp_path / "rows.csv").write_bytes(pl.DataFrame(ROWS).write_csv().encode("utf-16"))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=1))
    for name in ("rows.jsonl.gz", "rows.csv", "rows.json"):
        assert outcomes(tmp_path / name, "refusal", capsys) == ["hit", "hit", "miss", "miss", "unscored"], name


SAID = "I can't help with that."
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": SAID}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ASSISTANT]},
        {"messages": [USER, ASSISTANT], "label": "refused", "set": "mine"},
        {"messages": [USER], "metadata": {"reply": SAID}},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": SAID}]},
        {"instruction": "a", "input": "", "output": SAID},
    ],
)
def test_the_reply_is_where_the_layout_has_it(
    row: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "2"}))
    assert outcomes(file, "refusal", capsys) == ["hit", "hit"]


@pytest.mark.parametrize("answer", ["B", "oat", 1])
def test_the_accepted_answers_are_those_of_the_layout(
    answer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"question": "Which?", "context": "Loaves.", "choices": ["rye", "oat"], "answer": answer}
    file.write_text("\n".join(json.dumps({**row, "reply": said}) for said in ("The answer is B.", "A", "It is oat.")))
    assert outcomes(file, "choice", capsys) == ["hit", "miss", "hit"]


def test_rows_without_a_reply_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([json.dumps({"messages": [USER, ASSISTANT]}), json.dumps({"messages": [USER]}), "{"]))
    told = judged(capsys, file, "--judge", "refusal")
    assert told["left"] == "out    2 rows, the first is row 2: it has no reply"
    assert told["judged"] == "1 replies by refusal"


def test_reasons_are_told_and_a_file_of_which_nothing_is_scored_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "a", "completion": said} for said in ("<think>No", "", "<think>Yes")]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert main(["judge", str(file), "--judge", "refusal", "--output", str(tmp_path / "verdicts.jsonl")]) == 1
    told = capsys.readouterr()
    assert "50.0%" not in told.out
    assert "unscored    3: nothing could be scored" in told.out
    assert [line.split()[0] for line in told.out.splitlines() if " x " in line] == ["2", "1"]
    assert "none of 3 replies could be scored by refusal" in told.err
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 3


def test_a_file_without_replies_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": [USER]}))
    assert main(["judge", str(file), "--judge", "refusal"]) == 1
    assert "for the replies: name one of messages by --reply" in capsys.readouterr().err


def test_it_loads_no_torch(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_csv(tmp_path / "rows.csv")
    code = (
        f"import sys, mascing.cli; mascing.cli.main(['judge', {str(tmp_path / 'rows.csv')!r}, '--judge', 'refusal'])\n"
        "print(sorted({'torch', 'transformers', 'ray', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
