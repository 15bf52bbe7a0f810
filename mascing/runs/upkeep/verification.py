"""Whether everything that is stored is what was written: each object is read and hashed again."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from mascing.errors import DataError, MascingError
from mascing.runs import registry
from mascing.runs.run_folder import INDEX
from mascing.runs.upkeep.inventory import Inventory, take_inventory
from mascing.storage.manifests import read_stored
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check, check_text, open_json

_READERS = 4  # objects in memory at once
_SEALED_JSON = ("runs/", "campaigns/", "registry/", "readings/", "leases/", "answers/", "checks/")


@dataclass(frozen=True)
class Verified:
    """How many objects and bytes were checked, how many objects carry nothing to check, and what is damaged.

    Each line of ``damaged`` names an object and says what to do. What carries nothing to check is not of a run.
    """

    objects: int
    bytes: int
    unchecked: int
    damaged: tuple[str, ...]


def verify(storage: Storage, progress: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Read what the manifests name, sealed tables that none names, and sealed JSON; compare all with their digests.

    ``progress`` is told how many objects are checked, and of how many.
    """
    inventory = take_inventory(storage)
    checks = dict(_checks(storage, inventory))
    damaged = [str(error) for error in inventory.unreadable.values()]
    compared = inventory.named | checks.keys()
    with ThreadPoolExecutor(_READERS) as pool:
        for number, (name, found) in enumerate(zip(checks, pool.map(_found, checks.values()), strict=True), start=1):
            progress(number, len(checks))
            if isinstance(found, str):
                damaged.append(found)
            elif not found:
                compared.remove(name)
    present = [stored for name, stored in inventory.objects.items() if name in compared]
    return Verified(
        objects=len(present),
        bytes=sum(stored.bytes for stored in present),
        unchecked=len(inventory.objects) - len(present),
        damaged=tuple(damaged),
    )


def _checks(storage: Storage, inventory: Inventory) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is to be checked, by a name of its own, and how; manifests were checked as they were read."""
    for folder, manifest in inventory.manifests.items():
        for shard in manifest.shards:
            yield shard.path or f"{folder}/{shard.name}", partial(read_stored, storage, folder, shard)
    for name in sorted(inventory.objects.keys() - inventory.named):
        if name.endswith(".parquet"):
            yield name, partial(_check_table, storage, name)
        elif name.endswith(".json") and name.startswith(_SEALED_JSON):
            yield name, partial(_check_json, storage, name)
        elif name == INDEX or (name.startswith(("runs/", "campaigns/")) and name.endswith((".yaml", ".html"))):
            yield name, partial(_check_text, storage, name)


def _check_table(storage: Storage, name: str) -> None:
    check(storage.read(name), storage.locate(name))


def _check_text(storage: Storage, name: str) -> bool:
    return check_text(storage.read(name), storage.locate(name))


def _check_json(storage: Storage, name: str) -> None:
    remedy = registry.REMEDY if name.startswith("registry/") else "delete it and run again"
    text = open_json(storage.read(name), storage.locate(name), remedy)
    try:
        json.loads(text)
    except ValueError as error:
        raise DataError(f"{storage.locate(name)} is no JSON ({error}): {remedy}") from error


def _found(checked: Callable[[], object]) -> str | bool:
    """What is wrong with an object, or whether there was something to compare it with."""
    try:
        return checked() is not False
    except FileNotFoundError:  # deleted since it was listed
        return True
    except MascingError as error:
        return str(error)
