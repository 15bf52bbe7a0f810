"""The full testbed, and what every stage leaves of a tiny run: made once per test session and shared by its workers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from mascing.storage.object_storage import Storage

TESTBED_SEED = 0


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of the test session, which its workers share; without pytest-xdist there is one."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def testbed_folder(session_folder: Path) -> Path:
    """Folder of the fully trained testbed of seed 0, which takes a minute to train; tests only read it."""
    from mascing.testbeds.planted import build

    return _made_once(session_folder / "testbed", lambda folder: build(TESTBED_SEED, folder))


@pytest.fixture(scope="session")
def every_stage(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage on which the run of `recipe_outputs`, its audit and its collection are done; tests copy it."""
    from tests.tasks.recipe_outputs import collection, config_in, run

    def make(folder: Path) -> None:
        storage, config = Storage.open(str(folder)), config_in(tmp_path_factory.mktemp("model"))
        list(run(storage, config))
        list(collection(storage, config))

    return _made_once(session_folder / "every-stage", make)


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made by the first worker that asks for it."""
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            making = folder.with_name(f"{folder.name}-in-the-making")
            make(making)
            making.rename(folder)
    return folder
