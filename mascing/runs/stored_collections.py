"""The finished collections of `mascing harvest` under a storage URL."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mascing.errors import StorageError
from mascing.schemas.finished import Collected
from mascing.storage.manifests import MANIFEST, read_manifest
from mascing.storage.object_storage import Storage

COLLECT = Collected.stage_name()


@dataclass(frozen=True)
class StoredCollection:
    """The folder of a finished collection, and when it was finished (UTC)."""

    prefix: str
    written: datetime

    @property
    def name(self) -> str:
        """The name that `mascing traces` takes."""
        return self.prefix.removeprefix(f"{COLLECT}/")


def stored_collections(storage: Storage) -> list[StoredCollection]:
    """All finished collections, the latest first."""
    return sorted(_stored(storage), key=lambda each: (each.written, each.name), reverse=True)


def manifest_of(storage: Storage, collection: StoredCollection) -> Collected | None:
    """What was collected; None where that cannot be read, as of another version."""
    try:
        return read_manifest(storage, collection.prefix, Collected)
    except (StorageError, FileNotFoundError):
        return None


def _stored(storage: Storage) -> Iterator[StoredCollection]:
    for path in storage.list(COLLECT):
        folder, _, name = path.rpartition("/")
        if name != MANIFEST or folder.count("/") != 1:
            continue
        try:
            yield StoredCollection(folder, storage.modified(path))
        except FileNotFoundError:  # deleted since it was listed
            continue
