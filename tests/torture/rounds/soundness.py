"""What must hold of a storage after a run, whatever happened meanwhile: each row once, and manifests that are true."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from mascing.errors import DamagedError
from mascing.runs.upkeep.garbage import find_garbage
from mascing.runs.upkeep.inventory import PIECES, stage_folder, take_inventory
from mascing.storage import parquet
from mascing.storage.lease import LEASES
from mascing.storage.manifests import MANIFEST, QUARANTINE
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL

_CONVERSATION = ("conversation_id", "id")
"""Columns that name the conversation of a row, the first that a table has."""
_KEY = (*_CONVERSATION, "method", "cell")
"""Columns whose values together a row shares with no other, except in tables of tokens: they count conversations."""


def faults(storage: Storage, undisturbed: Storage) -> list[str]:
    """What does not hold, one line each: of every manifest, and compared with a storage that nothing happened to."""
    return [*_untrue(storage), *_repeated(storage), *_differences(storage, undisturbed), *orphans(storage)]


def orphans(storage: Storage) -> list[str]:
    """Objects that no manifest names and that garbage collection would not find."""
    inventory = take_inventory(storage)
    collected = {each.stored.name for each in find_garbage(storage, timedelta(0)).garbage}
    unnamed = [name for name in inventory.objects if name not in inventory.named and name not in collected]
    return [f"{name}: no manifest names it, and no garbage collection finds it" for name in unnamed if _is_work(name)]


def _is_work(name: str) -> bool:
    """Whether an object is a stage's or a unit's; what a run leaves for people is not."""
    return stage_folder(name) is not None or name.partition("/")[0] in (*PIECES, LEASES)


def result_of(storage: Storage) -> Any:
    """The result of the one run in the storage, without the fields that are times; None if there is none."""
    names = [name for name in storage.list("runs") if name.endswith("/result.json")]
    if not names:  # of a collection, whose facts are in its manifest
        return None
    [name] = names
    result = json.loads(storage.read(name))
    del result["timings"], result[SEAL]
    return result


def _untrue(storage: Storage) -> Iterator[str]:
    """Shards that are not what their manifest says."""
    for name, manifest in _manifests(storage).items():
        if manifest["rows_in"] != manifest["rows_out"] + manifest["rows_quarantined"]:
            yield f"{name}: rows in are not rows out and quarantined ones"
        for shard in manifest["shards"]:
            data = _shard(storage, name, shard)
            if data is None:
                yield f"{name}: no object has the bytes of {shard['name']}"
            elif shard["name"].endswith(".parquet") and _distinct(data) not in (None, shard["rows"]):
                yield f"{name}: {shard['name']} holds {_distinct(data)} different rows, not {shard['rows']}"


def _repeated(storage: Storage) -> Iterator[str]:
    """Conversations that a stage has twice, has lost or has made up: those of its splits must be those of prepare."""
    expected = {split: Counter(ids) for split, ids in _by_split(storage, "prepare", "conversations").items()}
    for stage, kind in {"label": "verdicts-unsteered", "prepare": "conversations"}.items():
        for split, ids in _by_split(storage, stage, kind).items():
            if Counter(ids) != expected[split]:
                yield f"{stage}: the rows of {split} are not those that came in"
    if sorted(_of_parts(storage, "collect", "traces")) != sorted(_of_parts(storage, "intake", "conversations")):
        yield "collect: the recorded conversations are not those that were taken in"
    for name, manifest in _manifests(storage).items():
        for shard in manifest["shards"] if name.startswith("evaluate/") else ():
            if shard["name"] != QUARANTINE and Counter(_in_shard(storage, name, shard)) != expected["test"]:
                yield f"{name}: the rows of {shard['name']} are not those of the test split"


def _differences(storage: Storage, undisturbed: Storage) -> Iterator[str]:
    """Manifests and results that differ from those of the undisturbed run, whose rows are thus the same."""
    here, there = _manifests(storage), _manifests(undisturbed)
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            yield f"{name} differs from that of the undisturbed run"
    if result_of(storage) != result_of(undisturbed):
        yield "result.json differs from that of the undisturbed run"


def _manifests(storage: Storage) -> dict[str, Any]:
    return {name: json.loads(storage.read(name)) for name in storage.list() if name.endswith(f"/{MANIFEST}")}


def _by_split(storage: Storage, stage: str, kind: str) -> dict[str, list[str]]:
    """The conversations of each split in the tables of this kind of a stage."""
    found: dict[str, list[str]] = {}
    for name, manifest in _manifests(storage).items():
        for shard in manifest["shards"] if name.startswith(f"{stage}/") else ():
            if shard["name"].startswith(f"{kind}-"):
                split = shard["name"].removeprefix(f"{kind}-").partition(".")[0].partition("-")[0]
                found.setdefault(split, []).extend(_in_shard(storage, name, shard))
    return found


def _of_parts(storage: Storage, stage: str, kind: str) -> list[str]:
    """The conversations of the parts of a stage; a part of traces has a row for each token."""
    return [
        conversation
        for name, manifest in _manifests(storage).items()
        for shard in (manifest["shards"] if name.startswith(f"{stage}/") else ())
        if shard["name"].startswith(f"{kind}-")
        for conversation in dict.fromkeys(_in_shard(storage, name, shard))
    ]


def _in_shard(storage: Storage, manifest: str, shard: Any) -> list[str]:
    """The conversation of each row of a shard; none if its bytes are not there."""
    data = _shard(storage, manifest, shard)
    return [] if data is None else _rows(data)


def _shard(storage: Storage, manifest: str, shard: Any) -> bytes | None:
    """The bytes of a shard, under its name or one with their digest; None if nothing has those of the manifest."""
    folder, stem = manifest.rpartition("/")[0], shard["name"].rpartition(".")[0]
    paths = [shard["path"]] if shard.get("path") else [f"{folder}/{shard['name']}"]
    paths += [name for name in storage.list(folder) if name.startswith(f"{folder}/{stem}") and name not in paths]
    for path in paths:
        try:
            data = storage.read(path)
        except (FileNotFoundError, DamagedError):
            continue
        if hashlib.sha256(data).hexdigest() == shard["sha256"]:
            return data
    return None


def _rows(data: bytes) -> list[str]:
    """The conversation of each row of a table."""
    table = parquet.from_bytes(data)
    [column, *_] = [name for name in _CONVERSATION if name in table.column_names]
    return [str(name) for name in table.column(column).to_pylist()]


def _distinct(data: bytes) -> int | None:
    """The number of different rows of a table; None if it has no rows that are of conversations."""
    table = parquet.from_bytes(data)
    key = [name for name in _KEY if name in table.column_names]
    return len({tuple(row.values()) for row in table.select(key).to_pylist()}) if key else None
