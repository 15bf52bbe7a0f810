"""A folder of complete objects, on a local disk or in an S3 bucket, and the rules for writing them.

Objects are written whole or not at all. Names are relative paths with ``/``; a part that starts with a dot is the
store's own (temporary files, locks, the probe) and is neither listed nor readable.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mascing.errors import ConflictError, StorageError
from mascing.storage.urls import LocalFolder, parse_url

_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.05
_UPDATES = 60
_UPDATE_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Stored:
    """The name of an object, its size in bytes, and when it was last written, in UTC by the clock of the store."""

    name: str
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Leftover:
    """What a killed writer left in the store beside the objects, what it is, and how it is thrown away."""

    stored: Stored
    what: str
    discard: Callable[[], None]


class Storage:
    """A storage URL that is open for reading and writing. It pickles as its URL, so that workers can receive it."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> "Storage":
        """Open ``./x``, ``/abs``, ``file:///abs`` or ``s3://bucket/prefix``; a missing local folder is created.

        Credentials, region and endpoint of S3 come from the standard AWS settings (``AWS_ACCESS_KEY_ID``,
        ``AWS_ENDPOINT_URL``, profiles) or from fsspec's configuration.
        Raises StorageError if the place cannot be written, or if it does not honour create-only and conditional writes.
        """
        store = _connect(url)
        store.probe()
        return cls(store)

    @classmethod
    def open_to_read(cls, url: str) -> "Storage":
        """Open a place that need not be writable; nothing is made or proved there, and a missing folder is empty.

        Raises StorageError if no storage can be there: a file is in the way, or there is no such bucket.
        """
        store = _connect(url)
        store.reach()
        return cls(store)

    @property
    def url(self) -> str:
        """Absolute local path of the folder, or ``s3://bucket/prefix``."""
        return self._store.url

    def read(self, path: str) -> bytes:
        """Return the whole object. Raises FileNotFoundError if there is none, StorageError if it cannot be read."""
        return self._store.read(_checked(path))

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` to before ``stop``; what they are is not checked, only that they are so many.

        Raises FileNotFoundError if there is no such object, StorageError if it cannot be read or has fewer bytes.
        """
        return self._store.read_range(_checked(path), start, stop)

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet; equal existing content is a success.

        So a retry is safe if the first answer was lost. Raises ConflictError if other content exists.
        """
        _checked(path)
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_ATTEMPTS):
            if self._store.put_new(path, data):
                return
            try:
                existing = self._store.read(path)
            except FileNotFoundError:  # another writer's put is still in flight, or was undone
                time.sleep(pause)
                pause *= 2
                continue
            if existing == data:
                return
            raise ConflictError(f"{self.locate(path)}: another writer stored different content under this name")
        raise StorageError(f"{self.locate(path)}: can neither be created nor read: check the rights, then run again")

    def overwrite(self, path: str, data: bytes) -> None:
        """Write the whole object in one put, replacing any other; readers see the old or the new, never a mixture."""
        self._store.put(_checked(path), data)

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """Return an object and the version that :meth:`swap` takes. Raises FileNotFoundError if there is none."""
        return self._store.read_versioned(_checked(path))

    def swap(self, path: str, data: bytes, version: str | None) -> None:
        """Replace the object only if it still has this version; ``None`` means that it must not exist.

        Raises ConflictError if it changed in the meantime. If an answer is lost, what the object then holds decides.
        """
        if not self._store.put_if(_checked(path), data, version):
            raise ConflictError(f"{self.locate(path)}: changed by another writer: read it again and retry")

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the object by ``change`` of its content (None if there is none), as one step among all writers.

        ``change`` is called again whenever another writer was faster; returning the content it got writes nothing.
        Raises ConflictError if others are faster every time.
        """
        for attempt in range(_UPDATES):
            try:
                before, version = self.read_versioned(path)
            except FileNotFoundError:
                before, version = None, None
            after = change(before)
            if after == before or self._store.put_if(path, after, version):
                return
            time.sleep(_UPDATE_PAUSE_SECONDS * (attempt % 5))
        raise ConflictError(f"{self.locate(path)}: too many writers change it at once: run again")

    def modified(self, path: str) -> datetime:
        """Return when the object was last written, in UTC. Raises FileNotFoundError if there is none."""
        return self._store.stat(_checked(path)).modified

    def exists(self, path: str) -> bool:
        """Whether an object of this name exists (a folder does not count)."""
        return self._store.exists(_checked(path))

    def list(self, prefix: str = "") -> list[str]:
        """Names of all objects in the folder ``prefix`` and below it, sorted; empty if there is no such folder."""
        return [stored.name for stored in self.entries(prefix)]

    def entries(self, prefix: str = "") -> Sequence[Stored]:
        """The same with their sizes and times."""
        folder = prefix.rstrip("/")
        found = self._store.walk(_checked(folder) if folder else "")
        return sorted((stored for stored in found if not _is_hidden(stored.name)), key=lambda stored: stored.name)

    def is_unused(self) -> bool:
        """Whether nothing was ever written there: not even the probe of who opened it to write."""
        return next(iter(self._store.walk("")), None) is None

    def remove(self, path: str) -> None:
        """Delete an object; one that is gone already is a success."""
        self._store.remove(_checked(path))

    def sweep(self) -> None:
        """Remove what dead processes of this machine left half written; what may be of a living one stays."""
        self._store.sweep()

    def leftovers(self) -> Sequence[Leftover]:
        """What killed writers left beside the objects: temporary files, locks, uploads that nobody completed.

        What a living writer on this machine holds is left out.
        """
        return list(self._store.leftovers())

    def locate(self, path: str) -> str:
        """Absolute local path or full URL of an object, for messages and for tools that take a path."""
        return f"{self._store.url}/{path}"

    def web_address(self, path: str) -> str:
        """The address at which a browser asks for an object: a ``file:`` URL, or the HTTP address of its S3 server.

        It carries no signature, so a page opens only for who may read the bucket without one.
        """
        return self._store.web_address(_checked(path))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _reconnect, (self.url,)


class ObjectStore(Protocol):
    """The interface of a place that holds a Storage. Names arrive checked; a put is complete or leaves nothing."""

    @property
    def url(self) -> str:
        """Absolute local path, or URL without a trailing slash."""

    def reach(self) -> None:
        """Raise StorageError if objects cannot be found there."""

    def probe(self) -> None:
        """Raise StorageError unless the place can be written and refuses a second create."""

    def read(self, path: str) -> bytes:
        """The object; FileNotFoundError if absent."""

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """These bytes of the object; StorageError if it has fewer."""

    def put(self, path: str, data: bytes) -> None:
        """Write, replacing."""

    def put_new(self, path: str, data: bytes) -> bool:
        """Write if absent; False if the object exists or another writer is writing it."""

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """The object and its version."""

    def put_if(self, path: str, data: bytes, version: str | None) -> bool:
        """Write if the version still holds (None: absent); False if not."""

    def stat(self, path: str) -> Stored:
        """Size and time of the object; FileNotFoundError if absent."""

    def remove(self, path: str) -> None:
        """Delete the object; nothing if absent."""

    def exists(self, path: str) -> bool:
        """Whether the object exists."""

    def web_address(self, path: str) -> str:
        """The object's address for a browser."""

    def walk(self, folder: str) -> Iterator[Stored]:
        """All below a folder ("" is the root), in any order; names with a part that starts with a dot may be among."""

    def sweep(self) -> None:
        """Remove what certainly dead writers left."""

    def leftovers(self) -> Iterator[Leftover]:
        """What killed writers left."""


def _connect(url: str) -> ObjectStore:
    place = parse_url(url)
    if isinstance(place, LocalFolder):
        from mascing.storage.local_store import LocalStore

        return LocalStore(place)
    from mascing.storage.s3_client import S3Client  # s3fs and botocore take a second to import
    from mascing.storage.s3_store import S3Store

    return S3Store(place, S3Client())


def _reconnect(url: str) -> Storage:
    """Unpickle: the place was probed when it was first opened."""
    return Storage(_connect(url))


def _checked(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")) or any(c in path for c in "\\\0\n\r"):
        raise StorageError(f"{path!r} is not an object name: use a relative path such as prepare/manifest.json")
    if _is_hidden(path):
        raise StorageError(f"{path!r} is not an object name: parts that start with a dot are the store's own")
    return path


def _is_hidden(path: str) -> bool:
    """Whether a part of the name starts with a dot, or is empty as those that some S3 consoles make for folders."""
    return any(part.startswith(".") or not part for part in path.split("/"))
