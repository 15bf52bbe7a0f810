"""A stage's output: shards first, the manifest last. A stage is finished once its manifest exists."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from pydantic import ValidationError

from mascing.errors import ConflictError, DamagedError, DataError, StorageError
from mascing.prose import counted
from mascing.schemas.manifest import FORMAT_VERSION, Facts, Manifest, Shard, stage_prefix
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json
from mascing.validation import complaints

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.parquet"


M = TypeVar("M", bound=Manifest)


class StageOutput(Generic[M]):
    """The folder ``<stage>/<name>-<fingerprint>`` of one stage run, filled once and closed with an ``M``."""

    def __init__(self, storage: Storage, leaves: type[M], name: str, fingerprint: str) -> None:
        self.storage, self._leaves = storage, leaves
        self._name, self._fingerprint = name, fingerprint
        self.prefix = stage_prefix(leaves.stage_name(), name, fingerprint)

    def finished(self) -> M | None:
        """Return the manifest if any writer has finished the stage."""
        try:
            return read_manifest(self.storage, self.prefix, self._leaves)
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes, rows: int) -> Shard:
        """Store one complete shard; storing it again is harmless, even while another writer stores it.

        An interrupted or concurrent run may have left other bytes under the name, since a GPU need not repeat its last
        bits. The shard then goes beside them under a name with its digest, so that a manifest always finds its bytes.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            self.storage.create(f"{self.prefix}/{name}", data)
        except ConflictError:
            self.storage.create(f"{self.prefix}/{_name_with_digest(name, digest)}", data)
        return Shard(name=name, rows=rows, bytes=len(data), sha256=digest)

    def commit(
        self,
        shards: Sequence[Shard],
        facts: Facts,
        *,
        rows_in: int,
        rows_quarantined: int = 0,
        inputs: Mapping[str, str] | None = None,
    ) -> M:
        """Finish the stage by writing its manifest, create-only; an equal manifest already there is a success.

        ``inputs`` maps a name to the prefix of the manifest that was read.
        Raises DataError if rows were lost: the rows of ``quarantine.parquet`` must be ``rows_quarantined`` and those
        of all other shards together ``rows_in - rows_quarantined``. Raises StorageError if a shard is gone since it was
        stored, and ConflictError if another writer finished the stage with different content.
        """
        _refuse_gone(self.storage, self.prefix, shards)
        manifest = self._leaves(
            stage=self._leaves.stage_name(),
            name=self._name,
            fingerprint=self._fingerprint,
            inputs=dict(inputs or {}),
            rows_in=rows_in,
            rows_out=_checked_rows_out(self.prefix, shards, rows_in, rows_quarantined),
            rows_quarantined=rows_quarantined,
            shards=tuple(sorted(shards, key=lambda shard: shard.name)),
            facts=facts,
        )
        self.storage.create(f"{self.prefix}/{MANIFEST}", _encode(manifest))
        return read_manifest(self.storage, self.prefix, self._leaves)


def shard_of(name: str, data: bytes, rows: int) -> Shard:
    """An object that is stored under its name in the stage's own folder; ``data`` are its bytes."""
    return Shard(name=name, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def shard_at(path: str, data: bytes, rows: int) -> Shard:
    """An object that is stored at ``path``, outside the outputs of stages, as a shard; ``data`` are its bytes."""
    return Shard(name=path, path=path, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_manifest(storage: Storage, prefix: str, leaves: type[M]) -> M:
    """Return the manifest of a finished stage, its seal and facts checked.

    Raises FileNotFoundError if the stage is not finished, StorageError if the object is damaged or not its ``leaves``.
    """
    path = f"{prefix.rstrip('/')}/{MANIFEST}"
    data = storage.read(path)
    try:
        manifest = leaves.model_validate_json(open_json(data, storage.locate(path), leaves.remedy))
    except DataError as error:
        raise StorageError(str(error)) from error
    except ValidationError as error:
        why = complaints(error, leaves)[0]
        raise StorageError(
            f"{storage.locate(path)} is not a manifest that this version can read ({why}): {leaves.remedy}"
        ) from error
    if not {"stage", "format_version"} <= manifest.model_fields_set or "version" not in manifest.facts.model_fields_set:
        raise StorageError(f"{storage.locate(path)} does not name its stage, format and version: {leaves.remedy}")
    if manifest.format_version != FORMAT_VERSION or manifest.prefix != prefix.rstrip("/"):
        raise StorageError(
            f"{storage.locate(path)} belongs to {manifest.prefix} in format {manifest.format_version}, not to its "
            f"folder in format {FORMAT_VERSION} (was it copied?): {leaves.remedy}"
        )
    return manifest


def read_shard(storage: Storage, manifest: Manifest, name: str) -> bytes:
    """Return a shard's bytes, checked against the length and SHA-256 in the manifest.

    Raises DamagedError if they are missing or damaged, StorageError if they cannot be read, and KeyError if the
    manifest lists no such shard.
    """
    return read_stored(storage, manifest.prefix, {shard.name: shard for shard in manifest.shards}[name])


def read_stored(storage: Storage, prefix: str, shard: Shard) -> bytes:
    """The same for a shard that a manifest at ``prefix`` lists."""
    for path in paths_of(prefix, shard):
        try:
            data = storage.read(path)
        except FileNotFoundError:
            continue
        except DamagedError as error:  # to delete the object alone would leave the manifest that names it
            raise missing(storage, prefix, shard) from error
        if len(data) == shard.bytes and hashlib.sha256(data).hexdigest() == shard.sha256:
            return data
    raise missing(storage, prefix, shard)


def missing(storage: Storage, prefix: str, shard: Shard) -> DamagedError:
    """What is said of a shard that is not there, or not as a manifest at ``prefix`` lists it."""
    where = storage.locate(shard.path or f"{prefix}/{shard.name}")
    return DamagedError(
        f"{where} is missing or damaged (not the {shard.bytes} bytes "
        f"with SHA-256 {shard.sha256[:12]}…): delete {' and '.join(_with_piece(prefix, shard))} and run again"
    )


def paths_of(prefix: str, shard: Shard) -> list[str]:
    """The objects that may hold a shard: a piece, or the stage's own under its name or that with its digest."""
    if shard.path is not None:
        return [shard.path]
    return [f"{prefix}/{stored_as}" for stored_as in (shard.name, _name_with_digest(shard.name, shard.sha256))]


def _with_piece(prefix: str, shard: Shard) -> list[str]:
    """What to delete so that a run makes the shard again."""
    return [f"the folder {prefix}", *([shard.path] if shard.path else [])]


def _name_with_digest(name: str, digest: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}-{digest[:16]}{path.suffix}"))


def _checked_rows_out(prefix: str, shards: Sequence[Shard], rows_in: int, rows_quarantined: int) -> int:
    names = [shard.name for shard in shards]
    if len(set(names)) != len(names):
        raise DataError(f"{prefix}: two shards share a name, so the rows of one would be lost")
    quarantined = sum(shard.rows for shard in shards if shard.name == QUARANTINE)
    rows_out = sum(shard.rows for shard in shards if shard.name != QUARANTINE)
    if quarantined != rows_quarantined or rows_out != rows_in - rows_quarantined:
        raise DataError(
            f"{prefix}: {rows_in} rows went in, {rows_quarantined} were said to be quarantined, but the shards hold "
            f"{rows_out} rows and {quarantined} quarantined ones: rows were lost or doubled, nothing is committed"
        )
    return rows_out


def _refuse_gone(storage: Storage, prefix: str, shards: Sequence[Shard]) -> None:
    """Refuse to name what somebody deleted meanwhile, as while this process was paused and nobody saw it at work."""
    places = {shard.name: paths_of(prefix, shard) for shard in shards}
    folders = {prefix, *(str(PurePosixPath(shard.path).parent) for shard in shards if shard.path is not None)}
    there = {name for folder in sorted(folders) for name in storage.list(folder)}
    gone = [paths[0] for paths in places.values() if there.isdisjoint(paths)]
    if gone:
        raise StorageError(
            f"{prefix}: objects of this stage were deleted while it ran ({counted(len(gone), 'object')}, such as "
            f"{storage.locate(gone[0])}), so it is not finished: run again, which makes these again"
        )


def _encode(manifest: Manifest) -> bytes:
    """The manifest, sealed; equal manifests are equal bytes. Raises ValueError on NaN or infinity, which JSON lacks."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)
    return seal_json(text)
