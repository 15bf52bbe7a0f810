"""A lease says that somebody is at work on something, so that others need not do the same work at once.

It only saves work: what is stored stays right without it, because units are created once. The holder raises a counter
every few seconds by compare-and-swap. Whoever waits judges by its own monotonic clock alone: a lease is dead once its
counter has stood still for long enough while it was watched. No clock is compared with that of another machine.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from uuid import uuid4

from pydantic import ValidationError

from mascing.errors import ConflictError, DataError, StorageError
from mascing.schemas.base import Frozen
from mascing.storage.object_storage import Storage
from mascing.storage.processes import is_gone, this_machine
from mascing.storage.sealing import open_json, seal_json

LEASES = "leases"


@dataclass(frozen=True)
class Pace:
    """Seconds between two beats of a holder, and seconds without one after which whoever watched may take over."""

    beat: float = 3.0
    patience: float = 20.0


class Holder(Frozen):
    """The object ``leases/<name>.json``: host and process are for people, ``beats`` counts while the holder lives.

    ``machine`` is what ``this_machine`` gave the holder.
    """

    id: str
    host: str
    pid: int
    machine: str = ""
    beats: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """A lease that this process holds, unless it has :attr:`lost` it."""

    def __init__(self, storage: Storage, name: str, pace: Pace) -> None:
        self._storage, self._path, self._pace = storage, path_of(name), pace
        self._mine = Holder(id=uuid4().hex, host=socket.gethostname(), pid=os.getpid(), machine=this_machine())
        self._lost, self._over = Event(), Event()
        self._error: Exception | None = None

    @classmethod
    @contextmanager
    def hold(
        cls, storage: Storage, name: str, waiting: Callable[[Holder], None] | None = None, pace: Pace | None = None
    ) -> Iterator["Lease"]:
        """Hold the lease while the block runs, and wait for it before.

        While another holder lives, ``waiting`` is called with it at every beat; what it raises ends the wait. Raises
        StorageError if the storage cannot be read or written.
        """
        lease = cls(storage, name, pace or Pace())
        lease._take(waiting)
        beating = Thread(target=lease._beat_on, name=f"lease {name}", daemon=True)
        beating.start()
        try:
            yield lease
        finally:
            lease._over.set()
            beating.join(lease._pace.patience)
            lease._release()

    @staticmethod
    def look(storage: Storage, name: str) -> Holder | None:
        """Who holds the lease, dead or alive; None if it is free. :func:`living` tells the dead from the living."""
        seen, _ = _read(storage, path_of(name))
        return None if seen is None or seen.released else seen

    @property
    def lost(self) -> bool:
        """Whether another process took over since, or beating failed: what this one does may be done twice."""
        return self._lost.is_set()

    @property
    def error(self) -> Exception | None:
        """What ended the beating other than another holder."""
        return self._error

    def _take(self, waiting: Callable[[Holder], None] | None) -> None:
        watched = _Watched(self._storage, self._path)
        while True:
            holder, version = watched.look()
            if holder is None or watched.still > self._pace.patience or _is_gone(holder):
                with suppress(ConflictError):  # another one was faster, or the holder lives: look again
                    self._storage.swap(self._path, _encode(self._mine), version)
                    return
                continue
            if waiting is not None:
                waiting(holder)
            time.sleep(self._pace.beat)

    def _beat_on(self) -> None:
        while not self._over.wait(self._pace.beat):
            try:
                self._beat()
            except StorageError:
                continue  # the storage may come back; until then nobody can take over either
            except Exception as error:  # noqa: BLE001 - a thread that dies unheard would give up the lease unsaid
                self._error = error
                self._lost.set()
            if self.lost:
                return

    def _beat(self) -> None:
        self._change(self._mine.model_copy(update={"beats": self._mine.beats + 1}))

    def _release(self) -> None:
        with suppress(StorageError):  # whoever waits finds out by itself
            if not self.lost:
                self._change(self._mine.model_copy(update={"released": True}))
            # Who takes it between these two calls finds that it is lost, and what it does may be done twice.
            if _read(self._storage, self._path)[0] == self._mine:
                self._storage.remove(self._path)

    def _change(self, to: Holder) -> None:
        seen, version = _read(self._storage, self._path)
        if seen is None or seen.id != self._mine.id:
            self._lost.set()
            return
        try:
            self._storage.swap(self._path, _encode(to), version)
            self._mine = to
        except ConflictError:  # only another holder writes here
            self._lost.set()


def _is_gone(holder: Holder) -> bool:
    """Whether the holder was a process of this machine that is no more, so that nobody need watch."""
    return bool(holder.machine) and holder.machine == this_machine() and is_gone(holder.pid)


def path_of(name: str) -> str:
    """The object of a lease."""
    return f"{LEASES}/{name}.json"


def held(storage: Storage) -> dict[str, Holder]:
    """The holders of all leases, dead or alive, by name."""
    seen = {_name_of(path): _read(storage, path)[0] for path in storage.list(LEASES)}
    return {name: holder for name, holder in seen.items() if holder is not None and not holder.released}


def living(storage: Storage, pace: Pace | None = None) -> dict[str, Holder]:
    """The holders of all leases whose counter moves, by name. Watches for up to the patience where any are held."""
    pace = pace or Pace()
    watched = {path: _Watched(storage, path) for path in storage.list(LEASES)}
    moving: dict[str, Holder] = {}
    while True:
        for path in list(watched):
            holder, _ = watched[path].look()
            if holder is None:
                del watched[path]
            elif watched[path].moved:
                moving[_name_of(path)] = holder
                del watched[path]
            elif watched[path].still > pace.patience:
                del watched[path]
        if not watched:
            return moving
        time.sleep(min(pace.beat, 1.0))


def _name_of(path: str) -> str:
    return path.removeprefix(f"{LEASES}/").removesuffix(".json")


class _Watched:
    """A lease under the eyes of one reader: ``still`` is for how many seconds it has not changed, as seen by it."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage, self._path = storage, path
        self._seen: Holder | None = None
        self._since = time.monotonic()
        self.moved = False
        self.still = 0.0

    def look(self) -> tuple[Holder | None, str | None]:
        """Who holds the lease now, None if it is free, with the version of the object."""
        now = time.monotonic()  # before reading: a reader that is stopped in between has not watched
        holder, version = _read(self._storage, self._path)
        if holder != self._seen:
            self.moved = self._seen is not None and holder is not None
            self._seen, self._since = holder, now
        self.still = now - self._since
        return (None if holder is None or holder.released else holder), version


def _read(storage: Storage, path: str) -> tuple[Holder | None, str | None]:
    """The object and its version; what is damaged holds nothing."""
    try:
        data, version = storage.read_versioned(path)
    except FileNotFoundError:
        return None, None
    try:
        return Holder.model_validate_json(open_json(data, path)), version
    except (DataError, ValidationError):
        return None, version


def _encode(holder: Holder) -> bytes:
    return seal_json(holder.model_dump_json(indent=1))
