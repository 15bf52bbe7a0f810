"""Folders of local Ray instances: Ray makes one for each, full of logs and sockets, and never removes it."""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

_NAME = re.compile(r"session_(?P<made>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d+)_(?P<process>\d+)")
"""How Ray names a folder: local time, and the process that called ``ray.init``."""
_OWNER = "mascing-run"
"""A file in the folder of a run's own instance, which names the run."""
_CLOCK_SECONDS = 5.0


def ray_folder(environment: Mapping[str, str]) -> str:
    """The folder that Ray puts its ``ray`` folder in: it looks at these variables, in this order."""
    return environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"


def claim(session: Path, run: str) -> None:
    """Note in the folder of a Ray instance that it is of this run."""
    (session / _OWNER).write_text(f"{run} {platform.node()}")


def made_by(process: int, started: float) -> Iterator[Path]:
    """The folders of the instances that a process started, ``started`` being its own start in seconds of the epoch.

    An older folder with the same number is of another process, and its instance may still run.
    """
    for session, made, number in _sessions():
        if number == process and made > started - _CLOCK_SECONDS:
            yield session


def claimed() -> Iterator[tuple[Path, str]]:
    """The folders of this user that runs of this machine have claimed, each with its run.

    Containers may share the folder for temporary files, and cannot see whether a run of another one lives.
    """
    for session, _, _ in _sessions():
        with suppress(OSError):
            run, _, machine = (session / _OWNER).read_text().partition(" ")
            if machine == platform.node():
                yield session, run


def remove(session: Path) -> None:
    """Remove the folder, and Ray's link to its latest one if that was it."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.parent / "session_latest"
    with suppress(OSError):
        if latest.is_symlink() and not latest.exists():
            latest.unlink()


def _sessions() -> Iterator[tuple[Path, float, int]]:
    """Folder, time and process of each instance that this user has started."""
    for session in Path(ray_folder(os.environ), "ray").glob("session_*"):
        if (name := _NAME.fullmatch(session.name)) is None:
            continue
        with suppress(OSError, ValueError):
            if not session.is_symlink() and session.stat().st_uid == os.getuid():
                made = datetime.strptime(name["made"], "%Y-%m-%d_%H-%M-%S_%f").timestamp()
                yield session, made, int(name["process"])
