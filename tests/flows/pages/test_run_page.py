"""What the Prefect server knows of a run: its name, tags, logs and artifacts. Nothing is pickled into its storage."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from mascing.config import load_config
from mascing.errors import ModelError
from mascing.flows.harvest import harvest
from mascing.flows.reconfigure import reconfigure
from mascing.runs.run_folder import RunFolder
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import RunConfig
from mascing.storage.object_storage import Storage
from tests.coin_run import COIN, written
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool


@pytest.fixture(scope="module")
def server(prefect_url: str) -> Iterator[httpx.Client]:
    """A client of the server that the flows of this module use, whose items run in this process."""
    with (
        temporary_settings({PREFECT_API_URL: prefect_url}),
        pytest.MonkeyPatch.context() as patch,
        httpx.Client(base_url=prefect_url, trust_env=False) as client,
    ):
        patch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())
        patch.setattr("mascing.flows.harvest.Pool", lambda *_: HerePool())
        patch.setattr("mascing.flows.pages.stage_progress._EVERY_SECONDS", 0.01)
        yield client


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run on a model of a unique name, with one conversation that cannot be read."""
    folder = tmp_path_factory.mktemp("run-page")
    path = written(folder, olmoe_folder.save(folder / f"tiny-{uuid4().hex[:8]}"), COIN)
    with (folder / "c.jsonl").open("a") as conversations:
        conversations.write('{"id": "broken", "group_id": "g", "messages": []}\n')
    return load_config(path)


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for what Prefect keeps of results and errors."""
    return tmp_path_factory.mktemp("prefect-storage")


@pytest.fixture(scope="module")
def run(
    server: httpx.Client, config: RunConfig, pickles: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The server's record of a run that ended well, with its folder under ``folder``."""
    storage = Storage.open(str(tmp_path_factory.mktemp("storage")))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: pickles}):
        folder = RunFolder(reconfigure(config, storage.url))
    APILogHandler().flush()
    return {**flow_run(server, config), "folder": folder, "storage": storage}


def flow_run(server: httpx.Client, config: RunConfig) -> dict[str, Any]:
    name = f"b on {Path(config.model.path).name}"
    [found] = asked(server, "flow_runs", {"flow_runs": {"name": {"any_": [name]}}})
    return found


def asked(server: httpx.Client, what: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.post(f"{what}/filter", json=filters).raise_for_status()
    rows: list[dict[str, Any]] = answer.json()
    return rows


def of(run: dict[str, Any]) -> dict[str, Any]:
    return {"flow_run_id": {"any_": [run["id"]]}}


def test_a_run_is_named_and_tagged_by_behaviour_model_and_methods(run: dict[str, Any], config: RunConfig) -> None:
    assert run["state_name"] == "Completed"
    assert set(run["tags"]) == {"b", Path(config.model.path).name, "steermoe"}


def test_tasks_are_named_by_their_stages(run: dict[str, Any], server: httpx.Client) -> None:
    tasks = asked(server, "task_runs", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert {"prepare", "label", "select", "gate", "publish", "report"} <= {task["name"] for task in tasks}


def test_progress_and_notes_are_logs_of_the_run(run: dict[str, Any], server: httpx.Client) -> None:
    logs = [log["message"] for log in asked(server, "logs", {"logs": of(run), "limit": 200})]
    assert any(line.startswith("prepare: 1 of 81 conversations set aside") for line in logs)
    assert any(line.startswith("label: done in ") for line in logs)
    assert "select: pruning: 1/1" in logs
    assert "report: written" in logs
    assert len(logs) == len(set(logs)) + sum(line == "Finished in state Completed()" for line in logs) - 1


def test_results_gates_and_quarantine_are_artifacts(run: dict[str, Any], server: httpx.Client) -> None:
    artifacts = {each["key"]: each for each in asked(server, "artifacts", {"artifacts": of(run)})}
    name = run["folder"].name
    assert "No mask was published" in artifacts[f"results-{name}"]["data"]
    assert "| baseline |" in artifacts[f"results-{name}"]["data"]
    gates = json.loads(artifacts[f"gates-{name}"]["data"])
    assert {row["method"] for row in gates} == {"steermoe", "random"}
    missed = [not row["check"].endswith(" passes") for row in gates]
    assert missed == sorted(missed, reverse=True)
    assert any(row["check"].startswith("target ") and "95% interval" in row["numbers"] for row in gates)
    [reason] = json.loads(artifacts[f"quarantine-{name}"]["data"])
    assert (reason["conversations"], "messages" in reason["reason"]) == (1, True)


def test_the_progress_of_stages_is_an_artifact_of_each(run: dict[str, Any], server: httpx.Client) -> None:
    artifacts = [each for each in asked(server, "artifacts", {"artifacts": of(run)}) if each["type"] == "progress"]
    told = {each["description"].partition(":")[0]: each for each in artifacts}
    assert {"label", "harvest", "optimise", "select", "evaluate"} <= told.keys()
    assert len(artifacts) == len(told), "one for each stage, which is updated"
    assert told["label"]["data"] == 100
    assert len({each["task_run_id"] for each in artifacts} - {None}) == len(artifacts)


def test_a_collection_shows_its_progress_too(server: httpx.Client, tmp_path: Path) -> None:
    rows = [{"id": f"row-{number}", "user": f"What about {number}?"} for number in range(40)]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = olmoe_folder.save(tmp_path / f"tiny-{uuid4().hex[:8]}")
    config = CollectionConfig.model_validate(
        {
            "model": {"path": str(model)},
            "conversations": str(tmp_path / "prompts.jsonl"),
            "columns": {"user": "user"},
            "harvest": {"rows_per_shard": 4},
        }
    )
    harvest(config, Storage.open(str(tmp_path / "data")).url)
    [run] = asked(server, "flow_runs", {"flow_runs": {"tags": {"all_": [model.name]}}})
    [told] = [each for each in asked(server, "artifacts", {"artifacts": of(run)}) if each["type"] == "progress"]
    assert (told["description"].partition(",")[0], told["data"]) == ("collect: 40 of 40", 100)


def test_the_link_to_the_report_says_on_which_machine_it_opens(run: dict[str, Any], server: httpx.Client) -> None:
    [report] = [
        each for each in asked(server, "artifacts", {"artifacts": of(run)}) if (each["key"] or "").startswith("report-")
    ]
    page = run["storage"].locate(run["folder"].page)
    assert f"[{page}](file://{page})" in report["data"]
    assert socket.gethostname() in report["description"]


def test_prefect_pickles_neither_results_nor_errors(
    run: dict[str, Any], config: RunConfig, pickles: Path, tmp_path: Path
) -> None:
    assert list(pickles.iterdir()) == []
    broken = config.model_copy(update={"model": config.model.model_copy(update={"path": str(tmp_path / "nowhere")})})
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: pickles}), pytest.raises(ModelError, match="does not exist"):
        reconfigure(broken, str(tmp_path / "storage"))
    [error] = pickles.iterdir()
    assert json.loads(error.read_text())["message"].startswith("the model folder ")
