"""`mascing conversations`: what is understood of a file, what is missing, and how it would split."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mascing.cli import main
from tests.mascing.conversations.lines import decode_lines, parse_conversations


def rows(n_rows: int = 60, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"Name bread {number}", "kind": "x", **more} for number in range(n_rows)]


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> list[str]:
    assert main(["conversations", *map(str, arguments)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("next: ")
    return [" ".join(line.split()) for line in lines]


def test_what_is_understood_and_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl", *rows(), "{", {"prompt": ""}, "{", {"prompt": " "}, "{", "{", rows(1)[0])
    lines = told(capsys, file)
    for line in (
        "format JSON Lines",
        "layout prompts (known by its columns)",
        "read 60 conversations in 60 groups, 7 rows cannot be used",
        "sets 60 target",
        "labels 60 rows without labels",
        "splits by the default shares (train 0.5, dev 0.2, test 0.3); `mascing check run.yaml` counts by its own",
        "user turns 60 with 1",
        "metadata 60 kind",
        "note 60 without an id get a hash of the row",
        "note 60 without a group_id are grouped by their first request",
        "user: Name bread 0",
        "missing labels: no harm, `mascing label` makes them from the model's own replies",
        "missing a utility set (set: utility/<name>): without one the gates cannot pass",
        "cannot use 1 x equal to line 1 (line 67)",
    ):
        assert line in lines
    assert any(line.startswith("cannot use 4 x not JSON") and "(lines 61, 63, 65, …)" in line for line in lines)
    sizes = [int(line.split()[1]) for line in lines if line.split()[0] in ("train", "dev", "test")]
    assert sum(sizes) == 60
    assert f"behaviour.conversations: {file}`" in lines[-1]


def test_converted_conversations_are_a_file_that_a_run_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "rows.csv", "question,answer,town", *(f"Which bread {n}?,rye,Ulm" for n in range(9)))
    out = tmp_path / "data" / "out.jsonl"
    lines = told(capsys, file, "--columns", "set: utility/breads, system: Be brief.", "--convert", out)
    assert not any(line.startswith("missing labels") for line in lines)
    assert f"written 9 conversations to {out}" in lines
    assert f"behaviour.conversations: {out}`" in lines[-1]
    conversations, quarantined = parse_conversations(decode_lines(out.read_bytes()), 1000)
    assert (len(conversations), quarantined) == (9, [])
    first = conversations[0]
    assert (first.set, first.references, first.metadata) == ("utility/breads", ("rye",), {"town": "Ulm"})
    assert [message.role for message in first.messages] == ["system", "user"]


def test_answers_that_stand_in_a_file_beside_are_missing_until_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = "mc1.dev.0\tx\tRye.\tone: Which?\tRye\tOat\tCorn\tNut"
    lines = told(capsys, written(tmp_path / "mc.tsv", story))
    assert any(line.startswith("missing references: the judges") for line in lines)
    assert any("`paste FILE.tsv FILE.ans > joined.tsv`" in line for line in lines)
    assert not any("missing references" in line for line in told(capsys, written(tmp_path / "mc.tsv", f"{story}\tA")))


def test_nothing_usable_is_a_failure_with_all_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, written(tmp_path / "rows.jsonl", {"prompt": ""}, "{"), code=1)
    assert sum(line.startswith("cannot use") for line in lines) == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("xs_test", "--columns: there is no \"xs_test\"; did you mean 'xstest'?"),
        ("something", "--columns: must be one of 'messages', 'sharegpt'"),
        ("usr: prompt", "--columns.usr: unknown key; did you mean 'user'?"),
        ("user: promt", "columns: no row has promt, which user is read from; did you mean 'prompt'?"),
        ("user: [", "--columns is neither a layout's name nor YAML"),
    ],
)
def test_columns_that_cannot_be_are_one_line(
    columns: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conversations", str(written(tmp_path / "rows.jsonl", *rows(2))), "--columns", columns]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_file_that_is_read_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl", *rows(2))
    assert main(["conversations", str(file), "--convert", str(file)]) == 1
    assert "name another" in capsys.readouterr().err
    assert len(file.read_text().splitlines()) == 2


def test_torch_is_not_imported(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *rows(2))
    script = "import sys; from mascing.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, "conversations", str(file)], check=False).returncode == 0
