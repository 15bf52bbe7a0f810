"""Progress: plain lines in a log, a bar and lasting lines on a terminal."""

import io
import logging
from itertools import count

import pytest
from rich.console import Console

from mascing.progress import Event, shown, tell


def printed(events: list[Event], terminal: bool = False, pause: float = 0.0) -> str:
    file = io.StringIO()
    with shown(Console(file=file, force_terminal=terminal, width=80), pause):
        for event in events:
            tell(event)
    return file.getvalue()


def test_a_log_has_a_line_for_each_turn_of_a_stage() -> None:
    text = printed(
        [Event("harvest", "started"), Event("harvest", "step", 1, 2), Event("harvest", "done", seconds=3.21)]
    )
    assert text == "harvest: started\nharvest: 1/2\nharvest: done in 3.2 s\n"


def test_the_parts_of_a_stage_are_named() -> None:
    text = printed([Event("select", "step", 1, 2, text="pruning"), Event("select", "step", 2, 2, text="pruning")])
    assert text == "select: pruning: 1/2\nselect: pruning: 2/2\n"


def test_finished_work_is_said_to_be_done_already() -> None:
    assert printed([Event("train", "already done", seconds=0.01)]) == "train: already done\n"


def test_many_steps_make_at_most_ten_lines_and_the_last_is_among_them() -> None:
    lines = printed([Event("select", "step", done, 500) for done in range(501)]).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "select: 500/500"


def test_steps_that_come_many_at_once_have_lines_and_the_last_is_among_them() -> None:
    lines = printed([Event("label", "step", done, 144, text="train") for done in (0, 64, 128, 144)]).splitlines()
    assert lines == [f"label: train: {done}/144" for done in (64, 128, 144)]


def test_a_log_with_a_pause_has_no_line_for_steps_that_come_before_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [Event("label", "step", done, 10) for done in range(1, 10)]
    events = [Event("label", "started"), *steps, Event("label", "done", seconds=2.0)]
    assert printed(events, pause=300.0) == "label: started\nlabel: done in 2.0 s\n"
    clock = count(step=50.0)
    monkeypatch.setattr("mascing.progress.time.monotonic", lambda: next(clock))
    said = printed(events, pause=300.0).splitlines()
    assert said == ["label: started", "label: 6/10", "label: done in 2.0 s"]


def test_a_bar_says_how_long_still_once_one_step_is_done() -> None:
    first = [Event("label", "started"), Event("label", "step", 0, 4), Event("label", "step", 1, 4)]
    assert "eta" not in printed(first[:2], terminal=True)
    assert "eta 0:0" in printed(first, terminal=True)


def test_a_terminal_keeps_one_line_a_stage() -> None:
    text = printed(
        [
            Event("train", "already done"),
            Event("select", "started"),
            Event("select", "step", 3, 4),
            Event("select", "done", seconds=2.0),
        ],
        terminal=True,
    )
    assert "train: already done" in text
    assert "select: done in 2.0 s" in text


def test_nobody_is_told_outside_the_block() -> None:
    printed([])
    logger = logging.getLogger("mascing.progress")
    assert logger.handlers == []
    assert logger.propagate
