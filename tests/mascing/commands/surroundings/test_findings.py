"""The doctor: what it finds where nothing is well."""

import itertools
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from mascing.cli import main
from mascing.commands.surroundings.findings import Finding, findings
from mascing.commands.surroundings.folders import use_writable_folders
from mascing.commands.surroundings.proxies import proxies


@pytest.fixture
def finding_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    """Findings with an old pydantic, no polars, no writable storage, and nothing where Prefect and Ray should be."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    real = metadata.version

    def version(name: str) -> str:
        if name == "polars":
            raise metadata.PackageNotFoundError(name)
        return "1.10" if name == "pydantic" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
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
    assert "no Ray cluster answers at RAY_ADDRESS 127.0.0.1:1" in finding_of["ray"].message
    assert "no Prefect server answers at http://127.0.0.1:1/api" in finding_of["prefect"].message


def told(monkeypatch: pytest.MonkeyPatch, storage: Path) -> dict[str, Finding]:
    """Findings on the machine alone: those before storage and services."""
    monkeypatch.setattr(metadata, "requires", lambda _: ())
    machine = itertools.takewhile(lambda finding: finding.what != "storage", findings(str(storage)))
    return {finding.what: finding for finding in machine}


def test_a_machine_that_is_well_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in proxies(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**11, free=10**11))
    finding_of = told(monkeypatch, tmp_path)
    assert {finding_of[what].status for what in ("proxy", "folders")} == {"ok"}
    assert not {"disk", "memory"} & set(finding_of)


def test_what_the_machine_lacks_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("TMPDIR", "/dev/null/tmp")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=64 * 10**6, free=10**6))
    finding_of = told(monkeypatch, tmp_path)
    assert finding_of["proxy"].status == "note"
    assert finding_of["proxy"].message.startswith("http_proxy: a run reaches this machine past it (no_proxy=localhost)")
    assert (finding_of["folders"].status, finding_of["disk"].status) == ("missing", "note")
    assert "set TMPDIR" in finding_of["folders"].message
    assert "make room" in finding_of["disk"].message
    assert "--shm-size" in finding_of["memory"].message


def test_a_home_that_was_replaced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null/home")
    use_writable_folders(os.environ)
    finding = told(monkeypatch, tmp_path)["folders"]
    assert finding.status == "note"
    assert finding.message.startswith("the home folder cannot be written, so ")


def test_what_is_missing_makes_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(["doctor", "--storage", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok       storage") for line in lines)
    assert any(line.startswith("missing  ray") for line in lines)
    assert lines[-1].startswith("next: mend what is missing above (1)")
