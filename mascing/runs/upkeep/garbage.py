"""What no finished run needs: objects that no manifest names, and what killed writers left."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from mascing.progress import waiting_for
from mascing.runs.upkeep.inventory import PIECES, Inventory, stage_folder, take_inventory
from mascing.storage.lease import LEASES, Holder, Lease, Pace, held, living, path_of
from mascing.storage.object_storage import Storage, Stored

_COLLECTOR = "gc"
"""The lease of whoever deletes, so that two do not at once."""
_DELETERS = 8
_PIECE, _UNFINISHED = "may be of a stopped run", "unfinished stage"


@dataclass(frozen=True)
class Garbage:
    """An object that no finished run needs, why, and how it is deleted; ``folder`` is where it is counted."""

    stored: Stored
    why: str
    folder: str
    delete: Callable[[], None]

    @property
    def may_be_resumed(self) -> bool:
        """Whether a run or collection that was stopped may go on from it, and would do the work again without it."""
        return self.why in (_PIECE, _UNFINISHED)


@dataclass(frozen=True)
class Collected:
    """What is garbage, and the living holders of leases, for whose sake unfinished work was left alone."""

    garbage: Sequence[Garbage]
    at_work: Sequence[Holder]


def find_garbage(storage: Storage, older_than: timedelta, pace: Pace | None = None) -> Collected:
    """What no finished run needs and is older than that, by this machine's clock. Writes nothing."""
    return _found(storage, datetime.now(UTC) - older_than, pace)


def collect_garbage(
    storage: Storage,
    older_than: timedelta,
    progress: Callable[[int, int], None] = lambda done, total: None,
    pace: Pace | None = None,
) -> Collected:
    """Delete what no finished run needs and is older than that, by the clock of the store, and return what it was.

    ``progress`` is told how many objects are deleted, and of how many.
    """
    with Lease.hold(storage, _COLLECTOR, pace=pace):
        collected = _found(storage, storage.modified(path_of(_COLLECTOR)) - older_than, pace)
        with ThreadPoolExecutor(_DELETERS) as pool:
            for number, _ in enumerate(pool.map(lambda each: each.delete(), collected.garbage), start=1):
                progress(number, len(collected.garbage))
    return collected


def _found(storage: Storage, before: datetime, pace: Pace | None) -> Collected:
    # Leases first: who comes later finds what is listed here still there, and writes what is younger.
    at_work = _at_work(storage, pace)
    inventory = take_inventory(storage)
    old = {name: stored for name, stored in inventory.objects.items() if stored.modified < before}
    kept = inventory.named | {path_of(name) for name in (*at_work, _COLLECTOR)}
    growing = {stage_folder(name) for name in inventory.objects.keys() - old.keys()}
    unneeded = [
        Garbage(old[name], why, _counted_in(name), partial(storage.remove, name))
        for name in sorted(old.keys() - kept)
        if (why := _why_garbage(name, inventory, growing, someone_works=bool(at_work)))
    ]
    left = [
        Garbage(each.stored, each.what, _counted_in(each.stored.name), each.discard)
        for each in storage.leftovers()
        if each.stored.modified < before
    ]
    return Collected([*unneeded, *left], list(at_work.values()))


def _at_work(storage: Storage, pace: Pace | None) -> dict[str, Holder]:
    """The living holders of leases, by name; only a lease that is held needs to be watched."""
    if held(storage).keys() <= {_COLLECTOR}:
        return {}
    with waiting_for("watching whether the holders of leases live"):
        return {name: holder for name, holder in living(storage, pace).items() if name != _COLLECTOR}


def _why_garbage(name: str, inventory: Inventory, growing: set[str | None], *, someone_works: bool) -> str:
    """Why no finished run needs an old object that no manifest names; empty if something may.

    ``growing`` are the folders that something was written to lately: a long stage has old units too.
    """
    top, folder = name.partition("/")[0], stage_folder(name)
    if top == LEASES:
        return "lease of nobody"
    if folder in inventory.manifests:
        return "no manifest names it"
    if top in PIECES and not someone_works and not inventory.unreadable:
        return _PIECE
    if folder is None or folder in inventory.unreadable or folder in growing or someone_works:
        return ""
    return _UNFINISHED


def _counted_in(name: str) -> str:
    """The stage's folder, or the folder at the top."""
    return stage_folder(name) or name.rpartition("/")[0].partition("/")[0] or "."
