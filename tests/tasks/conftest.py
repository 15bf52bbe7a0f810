"""What every stage leaves of the fixed tiny run, made once per test session."""

from pathlib import Path

import pytest
from filelock import FileLock

from mascing.storage.object_storage import Storage


@pytest.fixture(scope="session")
def every_stage(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of the storage on which the run, its audit and its collection are done; tests copy it."""
    from tests.tasks.recipe_outputs import collection, config_in, run

    own = tmp_path_factory.getbasetemp()
    session = own if worker_id == "master" else own.parent
    folder = session / "every-stage"
    with FileLock(session / "every-stage.lock"):
        if not folder.exists():
            unfinished = session / "every-stage-in-the-making"
            unfinished.mkdir(exist_ok=True)
            storage, config = Storage.open(str(unfinished / "storage")), config_in(unfinished)
            list(run(storage, config))
            list(collection(storage, config))
            (unfinished / "storage").rename(folder)
    return folder
