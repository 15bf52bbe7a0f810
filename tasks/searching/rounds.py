"""Searches on the pool: a whole one is an item; one in rounds is an item for each step, and units of its trials.

The driver hands on what a step asks for and, once all of it was tried, gives the next step out; so all workers share
the trials, and the search holds none of them meanwhile. Every step and every unit is stored: a killed search goes on
from its last step.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mascing.circuits.method import Asked
from mascing.schemas.finished import Optimised
from mascing.storage.manifests import StageOutput
from mascing.tasks.running.pieces import stored
from mascing.tasks.searching.items import Item, Shared, found_of, material_of
from mascing.tasks.searching.trials import Heard, Trials, asked_in, to_bytes, trials_in, try_out, units_of
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

Whole = Callable[[Worker, Shared, Item], bytes]
"""What a search that takes no rounds, or the attribution, leaves."""


@dataclass(frozen=True)
class _Step:
    """A whole search, or the step of one that follows these rounds of trials."""

    item: Item
    past: tuple[tuple[Heard, ...], ...] = ()

    @property
    def name(self) -> str:
        """For logs."""
        return f"{self.item.file} after {len(self.past)} rounds" if self.past else self.item.file


@dataclass(frozen=True)
class _Common:
    prefix: str
    shared: Shared
    whole: Whole


def search_all(
    pool: Pool,
    output: StageOutput[Optimised],
    whole: Whole,
    shared: Shared,
    items: Sequence[Item],
    progress: Callable[[int, int], None],
) -> dict[str, bytes]:
    """What each item found, by the name of its object, which nobody makes twice; longest searches come first.

    ``progress`` counts steps and units of trials; their number is not known before they are asked for. Raises
    MascingError as an item raised it.
    """
    found: dict[str, bytes] = {}
    rounds = _Rounds()
    done, total = 0, len(items)
    progress(done, total)
    works: Iterable[_Step | Trials] = map(_Step, items)
    queue = pool.queue(_run, _Common(output.prefix, shared, whole), works, size=_size)
    for work, value in queue:
        further: Sequence[_Step | Trials] = ()
        if isinstance(value, bytes):
            found[work.item.file] = value
        else:
            further = rounds.after(work, value)
            queue.again(further)
        done, total = done + 1, total + len(further)
        progress(done, total)
    return {item.file: found[item.file] for item in items}


class _Rounds:
    """Which trials of each search are still out."""

    def __init__(self) -> None:
        self._past: dict[Item, tuple[tuple[Heard, ...], ...]] = defaultdict(tuple)
        self._heard: dict[Item, list[Heard]] = defaultdict(list)
        self._out: dict[Item, int] = {}

    def after(self, work: "_Step | Trials", value: "Sequence[Trials] | Heard") -> Sequence["_Step | Trials"]:
        """What to do next, once a step has asked for ``value`` or a unit has brought it."""
        item = work.item
        if not isinstance(value, Heard):
            self._out[item] = len(value)
            return value
        self._heard[item].append(value)
        if len(self._heard[item]) < self._out[item]:
            return ()
        # In the order of the numbers: whoever was faster, the step is the same.
        self._past[item] += (tuple(sorted(self._heard.pop(item), key=lambda heard: heard.numbers)),)
        return (_Step(item, self._past[item]),)


def _size(work: "_Step | Trials") -> int:
    """Rows of a unit; nobody knows how long a search takes."""
    return len(work) if isinstance(work, Trials) else 0


def _run(worker: Worker, common: _Common, work: "_Step | Trials") -> "bytes | Heard | Sequence[Trials]":
    if isinstance(work, Trials):
        return try_out(worker, common.shared, work)
    search = work.item.search(common.shared.config)
    if search is None or search.method.go_on is None:
        return _stored_result(common, work.item, lambda: common.whole(worker, common.shared, work.item))
    return _step(worker, common, work)


def _step(worker: Worker, common: _Common, step: _Step) -> "bytes | Sequence[Trials]":
    """The result of the search, or the trials that it asks for next."""
    shared, item = common.shared, step.item
    try:
        return shared.storage.read(_path(common, item.file))
    except FileNotFoundError:
        pass
    results: list[bytes] = []

    def ask() -> bytes | None:
        made = _go_on(worker, common, step)
        if isinstance(made, bytes):
            results.append(made)
            return None
        return to_bytes(made)

    asked = _asked(common, item, len(step.past))
    if stored(shared.storage, asked, ask) is None:
        return _stored_result(common, item, results.pop)
    return units_of(worker, shared, item, asked)


def _go_on(worker: Worker, common: _Common, step: _Step) -> Asked | bytes:
    shared, item, number = common.shared, step.item, len(step.past)
    search = item.search(shared.config)
    assert search is not None
    state = asked_in(shared.storage, _asked(common, item, number - 1)).state if number else None
    seeds = search.seeds(shared.config.surrogate.members)
    past = [trials_in(shared, heard) for heard in step.past]
    made = search.go_on(material_of(worker, shared), item.number, seeds, state, past)
    return made if isinstance(made, Asked) else found_of(made).to_bytes()


def _stored_result(common: _Common, item: Item, make: Callable[[], bytes]) -> bytes:
    return stored(common.shared.storage, _path(common, item.file), make)


def _asked(common: _Common, item: Item, number: int) -> str:
    """Where a search's request of this round is stored, beside its result."""
    return _path(common, f"asked-{item.name}-{item.number:02d}-{number:02d}.parquet")


def _path(common: _Common, name: str) -> str:
    return f"{common.prefix}/{name}"
