"""SHA-256 of weights, computed once for a file and remembered as long as the file is the same.

Each remembered hash is a small file of its own in the cache folder, replaced as a whole: writers need no lock, and one
that is damaged or lost only means that the hash is computed again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mascing.models.copies.node_cache import cache_folder
from mascing.models.copies.stored_files import StoredFile

_SMALL = 2**24
"""Smaller files are hashed in milliseconds, and are not remembered."""
_TICK_SECONDS = 2.0
"""A file may change again within a tick of its file system's clock, and look the same. FAT has the longest."""
_BLOCK = 2**22

_State = Sequence[str | int]


def local_sha256(path: Path) -> str:
    """The hash of a local file. It is the same file if path, size, inode, and times of change are the same."""
    before = _local_state(path)

    def settled() -> bool:
        return _local_state(path) == before and time.time_ns() - path.stat().st_mtime_ns > _TICK_SECONDS * 1e9

    return _sha256(str(path.resolve()), before, path.stat().st_size, lambda: path.open("rb"), settled)


def stored_sha256(file: StoredFile) -> str:
    """The hash of a stored file. It is the same file if URL, size and ETag are the same."""
    return _sha256(
        _address(file), _stored_state(file), file.size, lambda: file.filesystem.open(file.path, "rb"), lambda: True
    )


def known_sha256(file: StoredFile) -> str | None:
    """The remembered hash of a stored file."""
    return _remembered(_address(file), _stored_state(file))


def _sha256(address: str, state: _State, size: int, opened: Callable[[], BinaryIO], settled: Callable[[], bool]) -> str:
    if (known := _remembered(address, state)) is not None:
        return known
    with opened() as file:
        digest = hexdigest(file, "sha256")
    if size >= _SMALL and settled():
        _remember(address, state, digest)
    return digest


def hexdigest(file: BinaryIO, algorithm: str) -> str:
    """The hash of all that is left to read."""
    content = hashlib.new(algorithm, usedforsecurity=False)
    while block := file.read(_BLOCK):
        content.update(block)
    return content.hexdigest()


def _local_state(path: Path) -> _State:
    told = path.stat()
    return [told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino]


def _stored_state(file: StoredFile) -> _State:
    return [file.size, file.state]


def _address(file: StoredFile) -> str:
    return str(file.filesystem.unstrip_protocol(file.path))


def _entry(address: str) -> Path:
    return cache_folder("digests") / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"


def _remembered(address: str, state: _State) -> str | None:
    try:
        entry = json.loads(_entry(address).read_text(encoding="utf-8"))
        same = entry["address"] == address and entry["state"] == list(state)
        digest = str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        return None
    return digest if same and len(digest) == 64 else None


def _remember(address: str, state: _State, digest: str) -> None:
    entry = _entry(address)
    temporary = entry.with_name(f".{uuid4().hex}")
    with suppress(OSError):  # a cache that cannot be written only costs time
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"address": address, "state": list(state), "sha256": digest}), "utf-8")
        os.replace(temporary, entry)
