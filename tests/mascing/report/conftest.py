"""The page of one made-up run, built once for all tests that read it."""

from pathlib import Path

import pytest

from mascing.report import build_report
from mascing.schemas.result import Result
from mascing.storage.object_storage import Storage
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import HOSTILE, Replies, made_up_conversations, write_run


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str]:
    """A run whose gradient mask was published, and the path of its page."""
    storage = Storage.open(str(tmp_path_factory.mktemp("run")))
    hostile: Replies = {
        ("gradient", conversation.id): (HOSTILE, "hit")
        for conversation in made_up_conversations()
        if conversation.set == "target"
    }
    result = write_run(storage, replies=hostile)
    return result, build_report(storage)


@pytest.fixture(scope="package")
def result(run: tuple[Result, str]) -> Result:
    return run[0]


@pytest.fixture(scope="package")
def html(run: tuple[Result, str]) -> str:
    return Path(run[1]).read_text(encoding="utf-8")


@pytest.fixture(scope="package")
def page(html: str) -> Page:
    return Page(html)
