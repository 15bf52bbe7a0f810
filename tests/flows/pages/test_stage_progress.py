"""The progress of a stage for Prefect's page: its numbers, and that no server can delay or fail the stage."""

import socket
from collections.abc import Iterator
from threading import Thread
from time import monotonic
from typing import Any

import pytest
from prefect.artifacts import create_progress_artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from mascing.flows.pages import stage_progress
from mascing.flows.pages.stage_progress import Pace, progress_artifact
from mascing.progress import Event, tell


def step(done: int, total: int = 200, text: str = "") -> Event:
    return Event("label", "step", done=done, total=total, text=text)


def text_of(pace: Pace) -> str:
    progress = pace.now()
    assert progress is not None
    return progress.text


def test_rate_and_time_left_follow_from_the_steps() -> None:
    pace = Pace()
    assert pace.now() is None
    pace.add(Event("label", "started"), 0.0)
    assert pace.now() is None
    pace.add(step(0), 10.0)
    assert text_of(pace) == "label: 0 of 200"
    pace.add(step(50), 35.0)
    assert text_of(pace) == "label: 50 of 200, 2 a second, 1 min 15 s left"
    pace.add(step(200), 110.0)
    assert (pace.now().percent, text_of(pace)) == (100.0, "label: 200 of 200, 2 a second")  # type: ignore[union-attr]


def test_a_new_part_of_a_stage_has_a_pace_of_its_own() -> None:
    pace = Pace()
    for now, done in ((0.0, 0), (1.0, 100)):
        pace.add(step(done), now)
    for now, done in ((2.0, 0), (12.0, 10)):
        pace.add(step(done, 20, "pruning"), now)
    assert text_of(pace) == "label: pruning: 10 of 20, 1 a second, 10 s left"


def test_only_the_latest_minutes_make_the_rate() -> None:
    """Pieces that an earlier run left are taken at once, and say nothing of the others."""
    pace = Pace()
    for now, done in ((0.0, 0), (1.0, 100), (301.0, 120), (401.0, 130)):
        pace.add(step(done), now)
    assert "0.1 a second, 11 min 40 s left" in text_of(pace)


@pytest.fixture(params=["silent", "gone"])
def lost_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that takes calls and never answers, or of one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        if request.param == "gone":
            server.close()
        yield address


def test_no_server_delays_or_fails_a_stage(lost_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Thread] = []

    class Kept(Thread):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            threads.append(self)

    monkeypatch.setattr(stage_progress, "Thread", Kept)
    monkeypatch.setattr(stage_progress, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(stage_progress, "_PATIENCE_SECONDS", 0.2)
    tried = []

    def created(*arguments: Any, **options: Any) -> Any:
        tried.append(arguments)
        return create_progress_artifact(*arguments, **options)

    monkeypatch.setattr(stage_progress, "create_progress_artifact", created)
    started = monotonic()
    with temporary_settings({PREFECT_API_URL: lost_server}), progress_artifact("label"):
        tell(step(1))
        while not tried:
            assert monotonic() - started < 30
            threads[0].join(0.01)
    assert monotonic() - started < 30
    assert all(thread.daemon for thread in threads), "it must not keep the process either"
