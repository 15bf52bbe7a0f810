"""Searches on the pool: a whole one is an item; one in rounds is an item for each step, and units of its trials.

The driver hands on what a step asks for and, once all of it was tried, gives the next step out; so all workers share
the trials, and the search holds none of them meanwhile. Every step and every unit is stored: a killed search goes on
from its last step.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.circuits.method import Asked
from mascing.progress import Event, tell
from mascing.prose import counted
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Optimised
from mascing.storage.manifests import StageOutput
from mascing.tasks.running.bisection import Bisection, Work
from mascing.tasks.running.pieces import stored
from mascing.tasks.searching.blame import blaming
from mascing.tasks.searching.items import Item, Shared, found_of, material_of
from mascing.tasks.searching.trials import Heard, Trials, asked_in, to_bytes, trials_in, try_out, units_of
from mascing.tasks.workers.pool import Pool, Queue
from mascing.tasks.workers.work_queue import WorkerDiedError
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


_Work = _Step | Work[Trials]


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

    ``progress`` counts steps and units of trials; their number is not known before they are asked for. A trial that
    ends every worker is set aside as any row is, and the search goes on without it. Raises MascingError as an item
    raised it.
    """
    found: dict[str, bytes] = {}
    rounds, bisection = _Rounds(), Bisection[Trials]()
    done, total = 0, len(items)
    progress(done, total)
    works: Iterable[_Work] = map(_Step, items)
    queue = pool.queue(_run, _Common(output.prefix, shared, whole), works, survives=_is_trials, size=_size)
    for work, value in _survived(queue, shared.config):
        with blaming(*_item(work).methods(shared.config)):
            probes = bisection.after(work, value) if isinstance(work, Work) else None
        if probes is not None:
            queue.again(probes)
            continue
        further: Sequence[_Work] = ()
        if isinstance(value, bytes):
            found[_item(work).file] = value
        else:
            further = rounds.after(_item(work), value)
            queue.again(further)
        done, total = done + 1, total + len(further)
        progress(done, total)
    return {item.file: found[item.file] for item in items}


def _survived(queue: Queue[_Work], config: RunConfig) -> Iterator[tuple[_Work, Any]]:
    """The items that are done; where one ends every worker that takes it, the error blames its method."""
    try:
        yield from queue
    except WorkerDiedError as error:
        with blaming(*(_item(error.item).methods(config) if error.item is not None else ())):
            raise


class _Rounds:
    """Which trials of each search are still out."""

    def __init__(self) -> None:
        self._past: dict[Item, tuple[tuple[Heard, ...], ...]] = defaultdict(tuple)
        self._heard: dict[Item, list[Heard]] = defaultdict(list)
        self._out: dict[Item, int] = {}

    def after(self, item: Item, value: Sequence[Trials] | Heard) -> Sequence["_Work"]:
        """What to do next, once a step of the item has asked for ``value`` or a unit has brought it."""
        if not isinstance(value, Heard):
            self._out[item] = len(value)
            return [Work(unit) for unit in value]
        self._heard[item].append(value)
        if len(self._heard[item]) < self._out[item]:
            return ()
        # In the order of the numbers: whoever was faster, the step is the same.
        heard = tuple(sorted(self._heard.pop(item), key=lambda heard: heard.numbers))
        _tell_silent(item, heard)
        self._past[item] += (heard,)
        return (_Step(item, self._past[item]),)


def _tell_silent(item: Item, heard: Sequence[Heard]) -> None:
    silent = [unit for unit in heard if None in unit.outcomes]
    if silent:
        trials = counted(sum(unit.outcomes.count(None) for unit in silent), "trial")
        text = f"{item.name}: {trials} gave no reply; the reason is in {silent[0].path}"
        tell(Event("optimise", "note", text=text))


def _is_trials(work: _Work) -> bool:
    return isinstance(work, Work)


def _item(work: _Work) -> Item:
    return work.whole.item if isinstance(work, Work) else work.item


def _size(work: _Work) -> int:
    """Rows of a unit; nobody knows how long a search takes."""
    return len(work.unit) if isinstance(work, Work) else 0


def _run(worker: Worker, common: _Common, work: _Work) -> bytes | Heard | Sequence[Trials]:
    with blaming(*_item(work).methods(common.shared.config)):
        return _result(worker, common, work)


def _result(worker: Worker, common: _Common, work: _Work) -> bytes | Heard | Sequence[Trials]:
    if isinstance(work, Work):
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
