"""A process beside the run that outlives it by seconds, and ends what the run started, also if the run was killed.

It holds the read end of a pipe whose write end the run alone has, so it reads to the end when the run is gone, whatever
has ended it. It has a session of its own: what is sent to the run's process group or terminal does not reach it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import sleep

import psutil

from mascing.tasks.guarding.leftovers import MARK, end, is_gone, leftovers, process_of, this_run
from mascing.tasks.guarding.sessions import claim, claimed, made_by, remove

_RAY, _KEEP = b"R", b"K"
_POLL_SECONDS = 0.05
_ROUNDS = 3
"""A dying raylet may start a worker while its others are ended."""


@contextmanager
def guarded(starts_ray: bool = False) -> Iterator[None]:
    """Let what the block starts end with this process. What is started later, or by others, is their own affair.

    ``starts_ray`` lets the folder of a local Ray instance of the block go too.
    """
    run, before = this_run(), os.environ.get(MARK)
    if starts_ray:
        _tell(_RAY)
    else:
        _guardian()
    os.environ[MARK] = run
    try:
        yield
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before
        if starts_ray:
            for session in made_by(*process_of(run)):
                claim(session, run)


def keep_folders() -> None:
    """Keep the logs of this run's Ray instance, which tell what it died of, until `mascing doctor --clean`."""
    _tell(_KEEP)


def is_guardian(process: psutil.Process) -> bool:
    """Whether the process is the guardian of a run, which must outlive it."""
    return __name__ in process.cmdline()


def _tell(letter: bytes) -> None:
    pipe = _guardian().stdin
    assert pipe is not None
    os.write(pipe.fileno(), letter)


@cache
def _guardian() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", __name__, this_run()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _outlive(run: str) -> None:
    said = sys.stdin.buffer.read()
    while not is_gone(run):
        sleep(_POLL_SECONDS)
    if _RAY in said:
        for session in made_by(*process_of(run)):  # killed before it could do so itself
            claim(session, run)
    for _ in range(_ROUNDS):
        end(leftovers())
    if _KEEP not in said:
        for session in [session for session, owner in claimed() if owner == run]:
            remove(session)


if __name__ == "__main__":
    _outlive(sys.argv[1])
