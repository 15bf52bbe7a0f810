"""The trace shards of a finished harvest: which there are, and what they hold."""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from mascing.schemas.conversation import Split
from mascing.schemas.manifest import Manifest, Shard
from mascing.storage.manifests import missing, paths_of, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.ranged import Ranged
from mascing.storage.urls import LocalFolder, parse_url
from mascing.traces.stored import StoredTraces

_NAME = re.compile(r"traces-(?:(?P<split>train|dev|test)-)?.*\.parquet")


class TraceShards:
    """The trace shards of one split, or of a harvest without splits, in stored order."""

    def __init__(self, storage: Storage, manifest: Manifest, split: Split | None) -> None:
        """Only the manifest is looked at; shards are read when they are asked for."""
        self._storage, self._manifest = storage, manifest
        self.shards = {shard.name: shard for shard in manifest.shards if _is_of(shard, split)}
        self._local = isinstance(parse_url(storage.url), LocalFolder)
        self._checked: set[str] = set()

    def stored(self) -> StoredTraces:
        """Their samples, read on demand."""
        sizes = {name: shard.bytes for name, shard in self.shards.items()}
        return StoredTraces(self.content, sizes, None if self._local else self.parts)

    def content(self, name: str) -> bytes | Path:
        """The path of a local shard, whose SHA-256 is checked the first time, or the checked content of any other.

        Raises StorageError if the shard is missing or damaged.
        """
        path = self.path(name)
        if path is None or not (name in self._checked or _digest(path) == self.shards[name].sha256):
            return read_shard(self._storage, self._manifest, name)
        self._checked.add(name)
        return path

    def parts(self, name: str) -> Path | Ranged:
        """How parts of a shard are read; they are checked as they are read, by the checksums in the file.

        Raises StorageError if the shard is missing, or on the local disk of another size.
        """
        shard = self.shards[name]
        if (path := self.path(name)) is not None:
            if path.stat().st_size != shard.bytes:
                raise missing(self._storage, self._manifest.prefix, shard)
            return path
        for path_in in paths_of(self._manifest.prefix, shard):
            if self._storage.exists(path_in):
                where = self._storage.locate(path_in)
                return Ranged(where, shard.bytes, partial(self._storage.read_range, path_in))
        raise missing(self._storage, self._manifest.prefix, shard)

    def path(self, name: str) -> Path | None:
        """Where a shard is on the local disk, unchecked; None if it is not there."""
        places = [Path(place) for place in self._places(name)] if self._local else []
        return next((place for place in places if place.is_file()), None)

    def urls(self) -> list[str]:
        """The path or URL of each shard."""
        return [self._place(name) for name in self.shards]

    def _place(self, name: str) -> str:
        path = self.path(name)
        return str(path) if path is not None else self._places(name)[0]

    def _places(self, name: str) -> Sequence[str]:
        return [self._storage.locate(path) for path in paths_of(self._manifest.prefix, self.shards[name])]


def splits_of(manifest: Manifest) -> list[Split | None]:
    """The splits that have traces; None stands for traces of a harvest without splits."""
    found = [match["split"] for shard in manifest.shards if (match := _NAME.fullmatch(shard.name))]
    return [split for split in (*get_args(Split), None) if split in found]


def _is_of(shard: Shard, split: Split | None) -> bool:
    match = _NAME.fullmatch(shard.name)
    return match is not None and match["split"] == split


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
