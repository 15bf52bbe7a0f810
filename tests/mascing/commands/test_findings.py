"""The doctor: what it finds where nothing is well."""

from importlib import metadata
from pathlib import Path

import pytest

from mascing.cli import main
from mascing.commands.findings import Finding, findings


@pytest.fixture
def finding_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    """Findings with an old pydantic, no polars, no writable storage, and nothing where Prefect and Ray should be."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    real = metadata.version

    def version(name: str) -> str:
        if name == "polars":
            raise metadata.PackageNotFoundError(name)
        return "1.10" if name == "pydantic" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    return {finding.what: finding for finding in findings(str(tmp_path / "file"))}


def test_a_package_out_of_range_is_told_with_its_range(finding_of: dict[str, Finding]) -> None:
    assert finding_of["pydantic"].status == "missing"
    assert finding_of["pydantic"].message.startswith("1.10 does not fit <3,>=2.11; install with")
    assert finding_of["torch"].status == "ok"


def test_a_missing_package_is_told_with_how_to_get_it(finding_of: dict[str, Finding]) -> None:
    assert finding_of["polars"].status == "missing"
    assert "not installed" in finding_of["polars"].message
    assert "pip install" in finding_of["polars"].message


def test_services_that_do_not_answer_are_told(finding_of: dict[str, Finding]) -> None:
    assert {what for what in ("storage", "prefect", "ray") if finding_of[what].status == "missing"} == {
        "storage",
        "prefect",
        "ray",
    }
    assert "no cluster answers at RAY_ADDRESS 127.0.0.1:1" in finding_of["ray"].message


def test_what_is_missing_makes_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(["doctor", "--storage", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok       storage") for line in lines)
    assert any(line.startswith("missing  ray") for line in lines)
    assert lines[-1].startswith("next: mend what is missing above (1)")
