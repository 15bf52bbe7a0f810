"""The full testbed, trained once per test session and shared by its workers."""

from pathlib import Path

import pytest
from filelock import FileLock

TESTBED_SEED = 0


@pytest.fixture(scope="session")
def testbed_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of the fully trained testbed of seed 0, which takes a minute to train; tests only read it."""
    from mascing.testbeds.planted import build

    own = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker has its own folder inside the session's; without it the folder is the session's.
    session = own if worker_id == "master" else own.parent
    folder = session / "testbed"
    with FileLock(session / "testbed.lock"):
        if not folder.exists():
            build(TESTBED_SEED, session / "testbed-in-the-making")
            (session / "testbed-in-the-making").rename(folder)
    return folder
