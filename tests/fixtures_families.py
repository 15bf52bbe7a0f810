"""Tiny checkpoints of thinking families, each trained once per test session when a test first asks for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_families import Family, checkpoint


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[Family], Path]:
    """The model folder of a family, which takes half a minute to train; tests only read it."""
    own = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker has its own folder inside the session's; without it the folder is the session's.
    session = own if worker_id == "master" else own.parent
    return lambda family: checkpoint(family, session / "families" / family)
