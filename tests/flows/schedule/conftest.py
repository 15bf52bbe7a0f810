"""A line that two files of tests begin with, run once per test session."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.flows.schedule.scheduled_runs import STRONG, config_of, made


@pytest.fixture(scope="session")
def strong_line(testbed_folder: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of the storage on which the run with the strong mask is done; tests copy it."""
    own = tmp_path_factory.getbasetemp()
    session = own if worker_id == "master" else own.parent
    folder = session / "strong-line"
    with FileLock(session / "strong-line.lock"):
        if not folder.exists():
            unfinished = session / "strong-line-in-the-making"
            unfinished.mkdir(exist_ok=True)
            made(config_of(testbed_folder, session, STRONG), str(unfinished))
            unfinished.rename(folder)
    return folder
