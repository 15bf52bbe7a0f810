"""Copy a stored model to this machine once: whoever else needs it here waits for that copy, and uses it.

A copy lies in the cache folder under a name that its files' names, sizes and ETags make, so that a changed model is
another copy. It gets that name when it is whole. What a killed process had copied is used by the next one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from mascing.errors import ModelError
from mascing.models.copies.node_cache import cache_folder
from mascing.models.copies.stored_files import StoredFile
from mascing.models.copies.weight_digests import hexdigest, known_sha256

_SPARE_BYTES = 2**28
"""Left free on the disk of the copy."""


def node_copy(url: str, files: Sequence[StoredFile]) -> Path:
    """The folder on this machine with these files of the model at ``url``, copied there if it is not.

    Raises ModelError if the cache folder cannot be written or has no room, or if a file arrives damaged; and one of
    `reachability.url_errors` if the storage fails.
    """
    folder = cache_folder("models") / _name(url, files)
    if _is_whole(folder, files):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise ModelError(
            f"{url} cannot be copied to {folder.parent} ({error.strerror}): set XDG_CACHE_HOME to a folder that can be "
            "written"
        ) from error
    try:
        if not _is_whole(folder, files):
            _copy(url, files, folder)
        return folder
    finally:
        lock.release()


def _name(url: str, files: Sequence[StoredFile]) -> str:
    listed = json.dumps([url, [[file.name, file.size, file.state] for file in files]])
    return hashlib.sha256(listed.encode()).hexdigest()[:32]


def _is_whole(folder: Path, files: Sequence[StoredFile]) -> bool:
    """Whether the copy is there, and nobody has cut or removed a file of it."""
    return folder.is_dir() and all(_has_size(folder / file.name, file.size) for file in files)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _copy(url: str, files: Sequence[StoredFile], folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    if folder.is_dir():  # damaged: keep what is whole
        shutil.rmtree(partial, ignore_errors=True)
        folder.rename(partial)
    missing = [file for file in files if not _has_size(partial / file.name, file.size)]
    _refuse_full_disk(url, sum(file.size for file in missing), folder.parent)
    for file in missing:
        target = partial / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(f".{target.name}.arriving")
        file.filesystem.get_file(file.path, str(arriving))
        _refuse_damaged(url, file, arriving)
        os.replace(arriving, target)
    partial.rename(folder)


def _refuse_full_disk(url: str, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise ModelError(
            f"{url} needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free: free some, or set "
            "XDG_CACHE_HOME to a folder on a larger disk"
        )


def _refuse_damaged(url: str, file: StoredFile, arrived: Path) -> None:
    """Raise ModelError, and forget the file, unless it has the size and the hash that are known of it."""
    sound = _has_size(arrived, file.size)
    expected = {"sha256": known_sha256(file), "md5": file.md5}
    algorithm = next((name for name, digest in expected.items() if digest is not None), None)
    if sound and algorithm is not None:
        with arrived.open("rb") as content:
            sound = hexdigest(content, algorithm) == expected[algorithm]
    if not sound:
        with suppress(OSError):
            arrived.unlink()
        raise ModelError(
            f"{url}/{file.name} arrived damaged: its {'size' if algorithm is None else f'size or {algorithm}'} is not "
            "that of the object: run again, and if it stays so, upload the file again"
        )
