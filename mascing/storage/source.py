"""Input files outside the storage URL that the config names: conversations, and a testbed's truth."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from mascing.errors import DataError
from mascing.reachability import read_bytes, refuse_silent_endpoint, url_errors

_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_COMPRESSED = (".gz", ".zst")
# What `datasets` and the hub write beside the rows.
_BESIDE = {"state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}


@dataclass(frozen=True)
class Source:
    """The bytes of one small input file; their hash identifies a run, not a location."""

    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class RowFiles:
    """Files of rows of any size, by name with how each is opened, and the hash of their content, as in `Source`.

    The hash of a folder is that of the names and hashes of its files.
    """

    sha256: str
    files: Mapping[str, Callable[[], BinaryIO]] = field(default_factory=dict, compare=False)


def read_source(url: str) -> Source:
    """Read a local path or a URL that fsspec knows (``s3://bucket/key``).

    Raises:
        DataError: if nothing can be read there.
    """
    with _reading(url):
        return Source(read_bytes(url if "://" in url else str(Path(url).expanduser())))


def read_rows(url: str) -> RowFiles:
    """Find a file of rows, or those in a folder, and read it once for its hash. Raises DataError if there are none."""
    files = files_of_rows(url)
    return RowFiles(content_hash(url, files), files)


def content_hash(place: str, files: Mapping[str, Callable[[], BinaryIO]]) -> str:
    """The hash of the only file, which is at ``place``, or of the names and hashes of the files in a folder there."""
    with _reading(place):
        hashes = [(name, _sha256(opener)) for name, opener in files.items()]
    return hashes[0][1] if list(files) == [place] else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def files_of_rows(url: str) -> Mapping[str, Callable[[], BinaryIO]]:
    """How the file, or each file of rows in a folder, is opened; a folder that `datasets` saved says which they are.

    Raises DataError if there is nothing to read, or if a folder holds files of several kinds.
    """
    with _reading(url):
        if "://" in url:
            from fsspec.core import url_to_fs

            refuse_silent_endpoint(url)
            filesystem, root = url_to_fs(url)
        else:
            filesystem, root = _Local(), str(Path(url).expanduser())
        if not filesystem.isdir(root):
            if "://" not in url and Path(root).is_fifo():
                raise DataError(f"cannot read {url}: it is a pipe, and is read more than once; save it as a file first")
            with filesystem.open(root, "rb"):  # fails here, where the reason can be told
                return {url: partial(filesystem.open, root, "rb")}
        names = _chosen(url, filesystem, root.rstrip("/"))
    return {name: partial(filesystem.open, f"{root.rstrip('/')}/{name}", "rb") for name in names}


class _Local:
    """The few calls that are needed of an fsspec filesystem, without its import."""

    def isdir(self, path: str) -> bool:
        return Path(path).is_dir()

    def open(self, path: str, mode: str) -> BinaryIO:
        return Path(path).open("rb")

    def find(self, path: str) -> list[str]:
        found = []
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if not _hidden(name)]
            found += [f"{folder}/{name}" for name in files]
        return found


def _chosen(url: str, filesystem: Any, root: str) -> list[str]:
    """The files of rows in a folder, by their names in it."""
    names = sorted(path.removeprefix(root).lstrip("/") for path in filesystem.find(root))
    states = [name for name in names if PurePosixPath(name).name == "state.json"]
    if states:
        return [name for state in states for name in _saved(filesystem, root, state)]
    rows = [name for name in names if _ending(name) and PurePosixPath(name).name not in _BESIDE and not _hidden(name)]
    endings = sorted({_ending(name) for name in rows})
    if not rows:
        raise DataError(f"cannot read {url}: the folder has no file of rows ({', '.join(_ENDINGS)}); name a file")
    if len(endings) > 1:
        raise DataError(
            f"cannot read {url}: it holds {' and '.join(endings)} files; name one of them, or a folder with one kind"
        )
    return rows


def _saved(filesystem: Any, root: str, state: str) -> Iterable[str]:
    """The files of a data set that `datasets` saved, as its state.json lists them."""
    with filesystem.open(f"{root}/{state}", "rb") as file:
        listed = json.loads(file.read()).get("_data_files")
    if not listed:
        raise DataError(f"cannot read {root}: its {state} lists no files")
    folder = PurePosixPath(state).parent
    return [str(folder / entry["filename"]) for entry in listed]


def _ending(name: str) -> str:
    path = PurePosixPath(name)
    suffix = PurePosixPath(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix
    return suffix if suffix in _ENDINGS else ""


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)


def _sha256(opener: Callable[[], BinaryIO]) -> str:
    with opener() as file:
        return hashlib.file_digest(cast(RawIOBase, file), "sha256").hexdigest()


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Turn a failure to reach a file into a DataError that names it."""
    try:
        yield
    except url_errors() as error:
        raise DataError(f"cannot read {url}: {error}; check the path, and the credentials if it is a URL") from error
