"""Items whose results are objects of a stage's output: each is made once, by whoever comes first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mascing.schemas.manifest import Manifest
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check
from mascing.tasks.running.pieces import stored
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

Shared = TypeVar("Shared")
Item = TypeVar("Item")
M = TypeVar("M", bound=Manifest)


def stored_items(
    pool: Pool,
    output: StageOutput[M],
    function: Callable[[Worker, Shared, Item], bytes],
    shared: Shared,
    items: Mapping[str, Item],
    progress: Callable[[int, int], None],
) -> dict[str, bytes]:
    """The objects of the stage by name, in the order of ``items``; workers make what nobody has stored.

    ``function`` makes a sealed file, since no manifest vouches for it before the stage is finished. Raises MascingError
    as an item raised it, and DataError for a stored object that is damaged.
    """
    named = [_Named(f"{output.prefix}/{name}", item) for name, item in items.items()]
    common = _Common(output.storage, function, shared)
    return dict(zip(items, pool.map(_run, common, named, progress), strict=True))


@dataclass(frozen=True)
class _Named:
    name: str
    item: Any


@dataclass(frozen=True)
class _Common:
    storage: Storage
    function: Callable[[Worker, Any, Any], bytes]
    shared: Any


def _run(worker: Worker, common: _Common, named: _Named) -> bytes:
    data = stored(common.storage, named.name, lambda: common.function(worker, common.shared, named.item))
    check(data, common.storage.locate(named.name))
    return data
