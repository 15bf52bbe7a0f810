"""The Prefect deployment can be made, and its flow takes its parameters."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint

from mascing.schemas.config import RunConfig
from mascing.schemas.settings.schedule_settings import ScheduleConfig

ROOT = Path(__file__).parents[2]
FILE = ROOT / "infra/prefect.yaml"


def deployment() -> dict[str, Any]:
    [only] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]
    return dict(only)


def test_it_names_the_version_that_is_pinned_and_the_pool_that_the_stacks_make() -> None:
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["prefect-version"] == prefect.__version__
    pool = deployment()["work_pool"]["name"]
    for stack in ("docker/compose.yaml", "infra/kubernetes/prefect.yaml"):
        assert re.search(rf"work-pool, create, {pool}, --type, process", (ROOT / stack).read_text(encoding="utf-8"))


def test_the_flow_is_found_by_its_module_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert deployment()["pull"] == []
    assert load_flow_from_entrypoint(deployment()["entrypoint"]).name == "scheduled"


def test_its_parameters_are_those_of_the_flow() -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment()["entrypoint"])
    checked = flow.validate_parameters(deployment()["parameters"])
    assert isinstance(checked["config"], RunConfig)
    assert checked["storage_url"].startswith("s3://")
    assert set(deployment()["parameters"]["schedule"]) == set(ScheduleConfig.model_fields)
    assert checked["schedule"] == ScheduleConfig()


def test_no_slot_of_a_dead_worker_can_stop_it() -> None:
    assert "concurrency_limit" not in deployment()


def test_a_server_takes_it_from_any_folder(prefect_url: str, tmp_path: Path) -> None:
    for command in (
        ["work-pool", "create", "mascing", "--type", "process"],
        ["deploy", "--prefect-file", FILE, "--all"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *command],
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": prefect_url, "PREFECT_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with urllib.request.urlopen(f"{prefect_url}/deployments/name/scheduled/nightly", timeout=20) as answer:
        made = json.load(answer)
    assert (made["work_pool_name"], made["entrypoint"]) == ("mascing", deployment()["entrypoint"])
    assert made["pull_steps"] in (None, [])
    assert [schedule["schedule"]["cron"] for schedule in made["schedules"]] == ["0 3 * * *"]
