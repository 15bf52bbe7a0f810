"""Channels: named pointers to published masks, moved by compare-and-swap, with their history."""

import re
import time

from pydantic import ValidationError

from mascing.errors import ConflictError, StorageError
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage

_ATTEMPTS = 60
_PAUSE_SECONDS = 0.01


def publish(storage: Storage, model: str, behaviour: str, mask_prefix: str, channel: str = "candidate") -> Channel:
    """Point a channel at a committed mask and return it; publishing the current mask again changes nothing.

    ``mask_prefix`` is the prefix of the mask's manifest. Concurrent publications are serialised, and the history keeps
    all of them. Raises StorageError if no mask is committed there.
    """
    try:
        read_manifest(storage, mask_prefix, MaskStored)
    except FileNotFoundError as error:
        raise StorageError(f"{storage.locate(mask_prefix)} holds no finished mask: nothing to publish") from error
    path = _path(model, behaviour, channel)
    for attempt in range(_ATTEMPTS):
        existing, version = _read(storage, path)
        if existing is not None and existing.mask == mask_prefix:
            return existing
        moved = Channel(model=model, behaviour=behaviour, channel=channel, mask=mask_prefix, history=_history(existing))
        try:
            storage.swap(path, f"{moved.model_dump_json(indent=1)}\n".encode(), version)
        except ConflictError:
            time.sleep(_PAUSE_SECONDS * (attempt % 5))
            continue
        return moved
    raise ConflictError(f"{storage.locate(path)}: too many writers publish at once: run the publication again")


def current(storage: Storage, model: str, behaviour: str, channel: str = "candidate") -> Channel | None:
    """Return what a channel points at, or None if nothing was published to it."""
    return _read(storage, _path(model, behaviour, channel))[0]


def _read(storage: Storage, path: str) -> tuple[Channel | None, str | None]:
    try:
        data, version = storage.read_versioned(path)
    except FileNotFoundError:
        return None, None
    try:
        return Channel.model_validate_json(data), version
    except ValidationError as error:
        raise StorageError(f"{storage.locate(path)} is not a channel: restore it, or delete it and publish") from error


def _history(existing: Channel | None) -> tuple[str, ...]:
    return () if existing is None else (*existing.history, existing.mask)


def _path(model: str, behaviour: str, channel: str) -> str:
    return "/".join(["registry", *(_folder(part) for part in (model, behaviour, channel))]) + ".json"


def _folder(name: str) -> str:
    """A name as a single part of a path; the slashes of a hub id or a model's folder become ``--``."""
    flat = "--".join(part for part in re.split(r"[/\\]+", name) if part not in ("", ".", ".."))
    flat = re.sub(r"[^A-Za-z0-9._-]", "-", flat).lstrip(".")
    if not flat:
        raise StorageError(f"{name!r} cannot name a channel: use letters and digits")
    return flat
