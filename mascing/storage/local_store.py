"""Objects as files in a local folder, written by link and rename so that no reader sees half a file."""

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from uuid import uuid4

from mascing.errors import StorageError
from mascing.storage.object_storage import Leftover, Stored
from mascing.storage.processes import is_gone, this_machine
from mascing.storage.urls import LocalFolder

_PROBE = ".mascing-probe"
_TEMPORARY = ".tmp-"
_OF_WRITER = re.compile(r"\.tmp-([0-9a-f]{16})-([0-9]+)-[0-9a-f]{32}")
_LOCK = ".lock-"


class LocalStore:
    """An ObjectStore in a folder, safe for concurrent threads and processes of one machine, even if killed."""

    def __init__(self, place: LocalFolder) -> None:
        self._root = place.path

    @property
    def url(self) -> str:
        """Absolute path of the folder."""
        return str(self._root)

    def reach(self) -> None:
        """Refuse a file; a folder may still be missing."""
        if self._root.exists() and not self._root.is_dir():
            raise self._in_the_way()

    def probe(self) -> None:
        """Make the folder and prove that a file can be linked into it once but not twice."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._in_the_way() from error
        except OSError as error:
            raise StorageError(f"{self._root}: cannot be made ({error.strerror}): choose a writable folder") from error
        self.put_new(_PROBE, b"mascing\n")
        if self.put_new(_PROBE, b"again\n"):
            raise StorageError(f"{self._root}: this file system replaces files that it should keep: use another one")

    def read(self, path: str) -> bytes:
        """Return the file's bytes."""
        with self._explained(path):
            try:
                self._refuse_waiting(path)
                return (self._root / path).read_bytes()
            except (IsADirectoryError, NotADirectoryError) as error:
                raise FileNotFoundError(errno.ENOENT, "no such object", str(self._root / path)) from error

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return these bytes of the file."""
        with self._explained(path), open(self._root / path, "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        if len(data) != stop - start:
            raise StorageError(f"checksum failed: {self._root / path} is cut off: delete it and run again")
        return data

    def put(self, path: str, data: bytes) -> None:
        """Replace by rename."""
        with self._explained(path), self._written(path, data) as temporary:
            os.replace(temporary, self._root / path)

    def put_new(self, path: str, data: bytes) -> bool:
        """Link under the final name, which fails if the name is taken: the local form of a create-only put."""
        with self._explained(path), self._written(path, data) as temporary:
            try:
                os.link(temporary, self._root / path)
            except FileExistsError:
                if (self._root / path).is_dir():
                    raise StorageError(f"{self._root / path}: a folder of this name is in the way: remove it") from None
                return False
            return True

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """Return the bytes, with their sha256 as version."""
        data = self.read(path)
        return data, hashlib.sha256(data).hexdigest()

    def put_if(self, path: str, data: bytes, version: str | None) -> bool:
        """Compare and replace under a lock file, which the system frees if its holder is killed."""
        if version is None:
            return self.put_new(path, data)
        with self._locked(path):
            try:
                current = self.read_versioned(path)[1]
            except FileNotFoundError:
                return False
            if current == version:
                self.put(path, data)
            return current == version

    def stat(self, path: str) -> Stored:
        """Return the file's size and time of modification."""
        with self._explained(path):
            return _stored(path, (self._root / path).stat())

    def remove(self, path: str) -> None:
        """Unlink the file; its folder stays, since somebody may be about to write there."""
        with self._explained(path):
            (self._root / path).unlink(missing_ok=True)

    def exists(self, path: str) -> bool:
        """Whether a file of this name exists."""
        return (self._root / path).is_file()

    def web_address(self, path: str) -> str:
        """A ``file:`` URL."""
        return (self._root / path).as_uri()

    def walk(self, folder: str) -> Iterator[Stored]:
        """Walk the folder; left out are a file that vanishes meanwhile, and pipes and devices: to read one may hang."""
        for parent, _, files in os.walk(self._root / folder):
            for name in files:
                path = Path(parent, name)
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                if not S_ISREG(found.st_mode):
                    continue
                yield _stored(path.relative_to(self._root).as_posix(), found)

    def sweep(self) -> None:
        """Remove the temporary files of dead processes of this machine: a name tells whose it is.

        `mascing storage gc` finds those of other machines, by their age and their lock.
        """
        here = _machine()
        for parent, _, files in os.walk(self._root):
            for name in files:
                whose = _OF_WRITER.fullmatch(name)
                if whose is not None and here == whose[1] and is_gone(int(whose[2])):
                    Path(parent, name).unlink(missing_ok=True)

    def leftovers(self) -> Iterator[Leftover]:
        """Temporary files and lock files that no living process of this machine holds."""
        for stored in self.walk(""):
            name = PurePosixPath(stored.name).name
            if name.startswith((_TEMPORARY, _LOCK)):
                path = self._root / stored.name
                if not _is_held(path):
                    what = "temporary file" if name.startswith(_TEMPORARY) else "lock file"
                    yield Leftover(stored, what, partial(path.unlink, missing_ok=True))

    def _in_the_way(self) -> StorageError:
        return StorageError(f"{self._root}: a file is in the way: give a folder as storage URL")

    @contextmanager
    def _written(self, path: str, data: bytes) -> Iterator[Path]:
        """Write a complete, synced temporary file beside its final name; then remove it and sync the folder."""
        folder = (self._root / path).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{_TEMPORARY}{_machine()}-{os.getpid()}-{uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # says that its writer lives
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                yield temporary
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(folder)

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Hold the lock file, and unlink it before it is let go: who waited for it sees that its name is gone."""
        target = self._root / path
        name = target.parent / f"{_LOCK}{target.name}"
        with self._explained(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            while True:
                with open(name, "ab") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    if not _is_still(name, lock.fileno()):
                        continue
                    try:
                        yield
                    finally:
                        name.unlink(missing_ok=True)
                    return

    def _refuse_waiting(self, path: str) -> None:
        """Raise StorageError for a pipe or a device: to open one may wait for ever for its writer."""
        mode = (self._root / path).stat().st_mode
        if not (S_ISREG(mode) or S_ISDIR(mode)):
            raise StorageError(
                f"{self._root / path} is no regular file but a device, a pipe or a socket: remove it, and restore the "
                "file from a copy"
            )

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn system errors into StorageErrors with advice; an absent file stays FileNotFoundError."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            place = self._root / path
            raise StorageError(f"{place}: {error.strerror}: {_ADVICE.get(error.errno or 0, _OTHERWISE)}") from error


_OTHERWISE = "check the folder, or choose another storage URL"
_ADVICE = {
    errno.ENOSPC: "free some disk space and run again; finished stages are kept",
    errno.EDQUOT: "your disk quota is used up: free some space and run again; finished stages are kept",
    errno.EACCES: "give yourself write permission, or choose another storage URL",
    errno.EPERM: "the file system must allow writing and hard links: choose another storage URL",
    errno.ENOTSUP: "the file system must allow hard links: choose another storage URL",
    errno.EROFS: "the file system is read-only: choose another storage URL",
    errno.ENOTDIR: "a file is where a folder should be: remove it, or choose another storage URL",
    errno.EEXIST: "a file is where a folder should be: remove it, or choose another storage URL",
}


def _machine() -> str:
    """This machine, as names of temporary files have it; empty if it cannot be told from others."""
    machine = this_machine()
    return hashlib.sha256(machine.encode()).hexdigest()[:16] if machine else ""


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stored(name: str, found: os.stat_result) -> Stored:
    return Stored(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _is_held(path: Path) -> bool:
    """Whether a living process has the file locked; True for one that vanished."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return True
    return False


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the name still means the open file: a lock file may be removed while somebody waits for it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
