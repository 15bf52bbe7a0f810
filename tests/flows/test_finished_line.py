"""A run with nothing left to do is read: neither Ray nor a Prefect server starts, and its outcome stays the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import ray
from prefect.settings import PREFECT_API_URL, temporary_settings

from mascing.cli import main
from mascing.runs.run_folder import find_run
from mascing.schemas.finished import RunStages
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL
from tests.coin_run import COIN, written
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

STAGES = [stage for stage in RunStages.model_fields if stage not in ("testbed", "masks")]


class StartedError(Exception):
    """A server was started."""


def refuse(*arguments: Any, **options: Any) -> None:
    raise StartedError


@pytest.fixture
def finished(prefect_here: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, Storage]:
    """The configuration of a finished run, and its storage; from now on, no server can start."""
    monkeypatch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())
    config, storage = written(tmp_path, olmoe_folder.save(tmp_path / "model"), COIN), Storage.open(str(tmp_path / "s"))
    assert main(["run", config, "--storage", storage.url]) == 0
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr("mascing.flows.own_server.subprocess.Popen", refuse)
    return config, storage


def result_of(storage: Storage) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(storage.read(find_run(storage).folder.result))
    assert result.pop("timings").keys() == set(STAGES)
    assert result.pop(SEAL)
    return result


def test_a_finished_run_is_read_without_any_server(
    finished: tuple[str, Storage], capsys: pytest.CaptureFixture[str]
) -> None:
    config, storage = finished
    before, page = result_of(storage), Path(storage.locate(find_run(storage).folder.page))
    page.unlink()
    capsys.readouterr()
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main(["run", config, "--storage", storage.url]) == 0
        said = capsys.readouterr().out.splitlines()
        assert [line for line in said if "already done" in line] == [f"{stage}: already done" for stage in STAGES]
        assert result_of(storage) == before
        assert page.exists()
        assert main(["label", config, "--storage", storage.url]) == 0


def test_work_that_is_left_starts_a_server(finished: tuple[str, Storage]) -> None:
    config, storage = finished
    for path in storage.list("gate"):
        Path(storage.locate(path)).unlink()
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(StartedError):
        main(["run", config, "--storage", storage.url])
