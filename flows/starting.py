"""Run a line: read it if it is finished, else run its flow, on the user's Prefect server or on one of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mascing.flows.own_server import start_server
from mascing.flows.prefect_server import configured_url, told_if_lost
from mascing.progress import waiting_for
from mascing.storage.object_storage import Storage

Value = TypeVar("Value")


@dataclass(frozen=True)
class Line(Generic[Value]):
    """Two ways to the same value; each imports what it needs itself, because that takes seconds.

    ``flow`` does what is left to do. ``finished`` raises UnfinishedError if something is, and needs no server. Without
    the stage ``needs``, the line is not finished.
    """

    flow: Callable[[], Value]
    finished: Callable[[], Value]
    needs: str = "label"


def run_line(storage: Storage, line: Line[Value]) -> Value:
    """The value of the line. A server of the user's shows every run, also one that finds all its work done."""
    storage.sweep()
    server = None
    named, begun = configured_url() is not None, bool(storage.list(line.needs))
    if not named and not begun:
        server = start_server()  # it starts beside the imports
    with waiting_for("loading PyTorch, about 5 s"):
        from mascing.flows import finished_line  # noqa: F401 - what both ways import
        from mascing.tasks.running.stage import UnfinishedError
    if named:
        with told_if_lost():
            return line.flow()
    if server is None:
        try:
            return line.finished()
        except UnfinishedError:
            server = start_server()
    with server.used(), told_if_lost():
        return line.flow()
