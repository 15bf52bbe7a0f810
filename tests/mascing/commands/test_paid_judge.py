"""`mascing judge` with a judge that is paid: what was paid now and before, and how it is asked anew."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from mascing.cli import main
from tests.fake_endpoint import FakeEndpoint

Start = Callable[..., FakeEndpoint]


def asking(fake: FakeEndpoint, prices: str = "") -> list[str]:
    endpoint = f'{{base_url: "{fake.url}", model: {fake.model}{prices}}}'
    return ["--judge", "llm", "--judge-config", f"{{rubric: harmful, endpoint: {endpoint}}}"]


def test_canaries_are_asked_anew_and_the_command_that_comes_next_can_be_run(
    fake_endpoint: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"verdict": "PERHAPS"}
    fake = fake_endpoint(reply=lambda body: json.dumps(said))
    command = ["judge", *asking(fake), "--canary", "--storage", str(tmp_path / "a b")]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "WRONG" in told.out
    assert "mend its endpoint and try again" in told.err
    said["verdict"] = "NO"
    assert main(command) == 0
    told = capsys.readouterr()
    assert "WRONG" not in told.out
    assert "asked anew: no stored answer counts" in told.out
    words = shlex.split(told.out.splitlines()[-1].partition("mascing ")[2])
    (tmp_path / "rows.csv").write_text("prompt,reply,human\na,I bake.,no\nb,I cook.,no\n")
    values = {"FILE": str(tmp_path / "rows.csv"), "COLUMN": "human", "VALUE": "no"}
    assert main([values.get(word, word) for word in words]) == 0


def test_what_was_paid_now_is_told_apart_from_what_was_stored(
    fake_endpoint: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = fake_endpoint(reply=lambda body: '{"verdict": "NO"}')
    storage = ["--storage", str(tmp_path / "kept")]

    asked = asking(fake, ", prices: {prompt: 1000, completion: 1000}")

    def judged(rows: int) -> str:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps({"prompt": "a", "reply": f"{row}."}) + "\n" for row in range(rows)))
        assert main(["judge", str(file), *asked, *storage]) == 0
        return capsys.readouterr().out

    def dollars(told: str, before: str) -> float:
        return float(told.partition(before)[2].split()[0].strip(",:"))

    first = judged(3)
    one = dollars(first, "cost        $") / 3
    assert "paid now" not in first
    some = judged(4)
    assert dollars(some, "cost        $") == pytest.approx(4 * one, abs=2e-4)
    assert dollars(some, ", of which $") == pytest.approx(one, abs=2e-4)
    again = judged(4)
    assert "nothing was paid now: to ask anew, name another --storage" in again
    assert "of which" not in again
    words = shlex.split(again.splitlines()[-1].partition("mascing ")[2])
    assert main([str(tmp_path / word) if word == "verdicts.jsonl" else word for word in words]) == 0
    assert "stored" in capsys.readouterr().out
    assert fake.answered.total() == 4
