"""Addresses of masks: a file, a URL, a path below the storage, or the channel that the mask was published to."""

import hashlib
import json
import re
from pathlib import Path

from mascing.errors import DataError, MaskError, StorageError
from mascing.models.checkpoint_names import flat_name
from mascing.runs.files import CARD, MASK
from mascing.runs.registry import channels_and_damage
from mascing.runs.run_folder import RUNS, RunFolder
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import MANIFEST, read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json

_STORED = (f"{RUNS}/", "masks/")
_CHANNEL = re.compile(r"^(?:(?P<model>.+)/)?(?P<behaviour>[a-z0-9][a-z0-9-]*)@(?P<channel>[A-Za-z0-9._-]+)$")


def mask_url(address: str, storage_url: str) -> str:
    """Path or URL of the mask at ``address``.

    A path or URL stands for itself, and a folder for the mask.safetensors in it. ``masks/...`` and ``runs/...``, as
    `result.json` has them, stand for a folder under ``storage_url``, and the folder of a run for the mask that it kept
    and did not publish. ``behaviour@channel`` and ``model/behaviour@channel`` stand for the mask that the registry
    there has published.

    Raises:
        MaskError: if nothing is there, or several models have the behaviour and none is named.
        StorageError: if the bytes of a published mask are not those that were published.
    """
    if "://" in address or (address and Path(address).exists()):
        is_folder = address.endswith("/") or ("://" not in address and Path(address).is_dir())
        return _in_folder(address.rstrip("/")) if is_folder else address
    if address.startswith(_STORED):
        return _stored(Storage.open_to_read(storage_url), address)
    if _CHANNEL.match(address) is None:
        raise MaskError(
            f"there is no mask at {address}: give a file, a URL, or behaviour@channel (for instance "
            "jailbreak-defence@candidate)"
        )
    storage = Storage.open_to_read(storage_url)
    return _published(storage, find_channel(storage, address).mask)


def _in_folder(folder: str) -> str:
    """The mask in a folder; of a run's own folder on this disk, the mask that it kept and did not publish."""
    if "://" in folder or (Path(folder) / MASK).is_file():
        return f"{folder}/{MASK}"
    kept = "unproven"
    if Path(folder, kept, MASK).is_file():
        return _kept(Storage.open_to_read(folder), kept)
    raise MaskError(
        f"there is no {MASK} in {folder}, nor in {folder}/{kept}: give the folder of a mask, of a run that kept one, "
        "or behaviour@channel"
    )


def _stored(storage: Storage, address: str) -> str:
    """The mask of a folder under the storage URL, or of the run there that kept one."""
    folder = address.removesuffix(f"/{MASK}").rstrip("/")
    if folder.startswith(f"{MaskStored.stage_name()}/") and storage.exists(f"{folder}/{MANIFEST}"):
        return _published(storage, folder)
    for prefix in (folder, RunFolder(folder.removeprefix(f"{RUNS}/")).unproven):
        if storage.exists(f"{prefix}/{MASK}"):
            return _kept(storage, prefix)
    if folder.startswith(f"{RUNS}/") and storage.exists(f"{folder}/result.json"):
        raise MaskError(f"{folder} keeps no mask: it published one, which `mascing registry list` shows, or made none")
    raise MaskError(f"there is no mask at {address} under {storage.url}: name its storage by --storage")


def _published(storage: Storage, prefix: str) -> str:
    """Where a published mask lies. Raises StorageError unless its bytes are those that were published."""
    read_shard(storage, read_manifest(storage, prefix, MaskStored), MASK)
    return storage.locate(f"{prefix}/{MASK}")


def _kept(storage: Storage, prefix: str) -> str:
    """Where a mask lies that a run kept. Raises StorageError unless its bytes are those that its card tells."""
    where = storage.locate(f"{prefix}/{MASK}")
    card_at = f"{prefix}/{CARD}"
    try:
        card = json.loads(open_json(storage.read(card_at), storage.locate(card_at)))
    except FileNotFoundError:  # a folder of the user's own
        return where
    except (DataError, ValueError) as error:
        raise StorageError(str(error)) from error
    if card.get("mask_digest") != hashlib.sha256(storage.read(f"{prefix}/{MASK}")).hexdigest():
        raise StorageError(f"checksum failed: {where} is not the mask of its card: delete it and run again")
    return where


def find_channel(storage: Storage, address: str) -> Channel:
    """The channel at ``behaviour@channel`` or ``model/behaviour@channel``.

    The model is its name, where that leaves one, or its checkpoint: the name with the start of the content's digest.
    Raises MaskError if there is no such channel, or more than one.
    """
    match = _CHANNEL.match(address)
    if match is None:
        kept = "; the mask that a run kept is unproven, and goes to no channel" if f"{RUNS}/" in address else ""
        raise MaskError(f"{address!r} is no channel: give behaviour@channel or model/behaviour@channel{kept}")
    every, damage = channels_and_damage(storage)
    published = [entry for entry in every if (entry.behaviour, entry.channel) == (match["behaviour"], match["channel"])]
    found = [entry for entry in published if match["model"] is None or _is_called(entry, match["model"])]
    if len(found) == 1:
        return found[0]
    if found:
        raise MaskError(f"several models have {address}: give one of {', '.join(entry.address for entry in found)}")
    names = ", ".join(entry.address for entry in every) or "nothing"
    unread = "".join(f"; a channel cannot be read: {said}" for said in damage)
    raise MaskError(f"nothing is published as {address} under {storage.url}; published there: {names}{unread}")


def _is_called(entry: Channel, model: str) -> bool:
    return entry.checkpoint in (model, flat_name(model)) or flat_name(entry.model) == flat_name(model)
