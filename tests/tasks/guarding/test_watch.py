"""A server that stops answering is told once, in one line; one that answers again is not."""

import os
from collections.abc import Iterator
from itertools import chain, repeat
from threading import Event

import pytest

from mascing.errors import MascingError
from mascing.progress import told_of_losses
from mascing.tasks.guarding.watch import Part, Watch

SECONDS = 20


def part(answers: Iterator[bool]) -> Part:
    return Part("the server", answers.__next__, "start it again")


def test_a_part_that_does_not_answer_is_told_in_one_line() -> None:
    lines: list[str] = []
    told = Event()

    def end(line: str) -> None:
        lines.append(line)
        told.set()

    with told_of_losses(end):
        watch = Watch(part(repeat(True)), part(repeat(False)))
        watch.refuse_lost()
        assert told.wait(SECONDS)
        with pytest.raises(MascingError, match=r"^the server does not answer any more: start it again; finished"):
            watch.refuse_lost()
        watch.close()
    assert len(lines) == 1


def test_a_part_that_answers_again_is_not_lost_and_stderr_is_replayed(capfd: pytest.CaptureFixture[str]) -> None:
    again = Event()

    def answers() -> Iterator[bool]:
        yield False
        os.write(2, b"a complaint of native code\n")
        assert not capfd.readouterr().err
        yield False
        yield True
        again.set()
        yield from repeat(True)

    watch = Watch(part(chain(answers())))
    assert again.wait(SECONDS)
    watch.refuse_lost()
    watch.close()
    assert capfd.readouterr().err == "a complaint of native code\n"


def test_a_process_that_has_ended_is_told_at_once_and_asked_nothing() -> None:
    told = Event()
    ended = [False]
    gone = Part("the server", never_asked, "start it again", ended=lambda: ended[0])
    with told_of_losses(lambda line: told.set()):
        watch = Watch(gone)
        ended[0] = True
        assert told.wait(2)  # a question would come after 5 s
        with pytest.raises(MascingError, match=r"^the server does not answer any more"):
            watch.refuse_lost()
        watch.close()


def never_asked() -> bool:
    raise AssertionError("asked")
