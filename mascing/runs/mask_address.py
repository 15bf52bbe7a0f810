"""Addresses of masks: a file, a URL, or the channel that the mask was published to."""

import json
import re
from pathlib import Path

from mascing.errors import MaskError
from mascing.storage.object_storage import Storage

_CHANNEL = re.compile(r"^(?:(?P<model>.+)/)?(?P<behaviour>[a-z0-9][a-z0-9-]*)@(?P<channel>[A-Za-z0-9._-]+)$")


def mask_url(address: str, storage_url: str) -> str:
    """Path or URL of the mask at ``address``.

    A path or URL stands for itself, and a folder for the mask.safetensors in it. ``behaviour@channel`` and
    ``model/behaviour@channel`` stand for the mask that the registry under ``storage_url`` has published there.

    Raises:
        MaskError: if nothing is published there, or several models have the behaviour and none is named.
    """
    if "://" in address or (address and Path(address).exists()):
        is_folder = address.endswith("/") or ("://" not in address and Path(address).is_dir())
        return f"{address.rstrip('/')}/mask.safetensors" if is_folder else address
    match = _CHANNEL.match(address)
    if match is None:
        raise MaskError(
            f"there is no mask at {address}: give a file, a URL, or behaviour@channel (for instance "
            "jailbreak-defence@candidate)"
        )
    return _published(Storage.open(storage_url), match["model"], match["behaviour"], match["channel"])


def _published(storage: Storage, model: str | None, behaviour: str, channel: str) -> str:
    entries = [json.loads(storage.read(path)) for path in storage.list("registry") if path.endswith(".json")]
    published = [entry for entry in entries if (entry["behaviour"], entry["channel"]) == (behaviour, channel)]
    candidates = [entry for entry in published if model in (None, entry["model"])]
    if len(candidates) == 1:
        return storage.locate(f"{candidates[0]['mask']}/mask.safetensors")
    if candidates:
        models = ", ".join(sorted(entry["model"] for entry in candidates))
        raise MaskError(f"several models have {behaviour}@{channel}: put one of {models} and / before it")
    names = sorted(f"{entry['model']}/{entry['behaviour']}@{entry['channel']}" for entry in entries)
    raise MaskError(
        f"nothing is published as {behaviour}@{channel} under {storage.url}; published there: "
        f"{', '.join(names) or 'nothing'}"
    )
