"""Channels: named pointers to published masks, moved by compare-and-swap, with their history.

A channel lies at ``registry/<checkpoint>/<behaviour>/<channel>.json``. The checkpoint is named by its content: the
same weights at another place or under another name have the same channel.
"""

import getpass
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from mascing.errors import ConflictError, DataError, MaskError, StorageError
from mascing.evidence.gates import gate_text
from mascing.masks.mask import Mask
from mascing.masks.unproven import why_unproven
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.files import CARD, MASK
from mascing.runs.run_folder import RUNS
from mascing.schemas.cards.mask_card import Channel, MaskCard, Move
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json
from mascing.validation import complaints

CANDIDATE = "candidate"
"""The channel that runs publish to."""

REMEDY = (
    "restore an earlier copy of it; to delete it forgets its history and which masks were withdrawn, so that a "
    "schedule may promote one that people rolled back from"
)
"""What to do about a channel that is damaged."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHANNEL_PATH = re.compile(r"registry(/[^/]+){3}\.json")


def publish(
    storage: Storage,
    checkpoint: NamedCheckpoint,
    behaviour: str,
    mask_prefix: str,
    channel: str = CANDIDATE,
    run: str = "a run",
) -> Channel:
    """Point a channel at a committed mask and return it; publishing the current mask again changes nothing.

    ``mask_prefix`` is the prefix of the mask's manifest, ``run`` what the history calls the run. Concurrent
    publications are serialised, and the history keeps all of them. Raises StorageError if no mask is committed there,
    and MaskError if it is marked as unproven.
    """
    while True:
        home = _folder(storage, checkpoint)
        moved = _moved(
            storage,
            Channel(
                model=checkpoint.name,
                checkpoint=home,
                fingerprint=checkpoint.fingerprint,
                behaviour=behaviour,
                channel=channel,
                mask=mask_prefix,
            ),
            why=f"published by {run}, whose gates it passes",
        )
        # Two first publications at once may have named the same weights differently; the first in order is kept.
        if _folder(storage, checkpoint) == home:
            return moved


def promote(storage: Storage, source: Channel, channel: str, seen: Channel | None, why: str) -> Channel:
    """Point another channel of the same model and behaviour at the mask that ``source`` holds, and return it.

    ``seen`` is what that channel held when the decision was made, None if there was no such channel. Raises MaskError
    if the mask's card is of another behaviour or checkpoint, or does not say that the mask passes its gates, and
    ConflictError if the channel moved meanwhile.
    """
    refuse_unfit(storage, source)
    return _moved(storage, source.model_copy(update={"channel": channel}), _Only(seen), why=why)


def rollback(storage: Storage, channel: Channel, mask_prefix: str | None = None, why: str | None = None) -> Channel:
    """Point a channel at an earlier mask of its history, by default the last that was not withdrawn, and return it.

    The history only grows, so a rollback is seen in it too, and the mask that is left counts as withdrawn: no schedule
    promotes it again. Raises MaskError if the channel never held the mask that is asked for, or if that one could not
    be promoted either, and ConflictError if the channel moved since it was read.
    """
    earlier = channel.earlier if mask_prefix is None else [m for m in channel.history if m == mask_prefix]
    if not earlier:
        wanted, held = mask_prefix or "an earlier mask", ", ".join(channel.history) or "no other mask"
        others = ", ".join(channel.earlier_withdrawn)
        hint = f"; go back to one that was withdrawn by --to, or publish another: {others}" if others else ""
        raise MaskError(f"{channel.address} cannot go back to {wanted}: it held {held} before{hint}")
    back = channel.model_copy(update={"mask": earlier[-1]})
    refuse_unfit(storage, back)
    told = why or f"rolled back from {channel.mask}"
    return _moved(storage, back, _Only(channel), why=told, withdraw=channel.mask)


def current(storage: Storage, checkpoint: NamedCheckpoint, behaviour: str, channel: str = CANDIDATE) -> Channel | None:
    """Return what a channel holds, or None if nothing was published to it."""
    path = channel_path(_folder(storage, checkpoint), behaviour, channel)
    try:
        return decode_channel(storage, path, storage.read(path))
    except FileNotFoundError:
        return None


def sibling(storage: Storage, channel: Channel, name: str) -> Channel | None:
    """The channel ``name`` of the same checkpoint and behaviour, or None if nothing was published to it."""
    path = channel_path(channel.checkpoint, channel.behaviour, name)
    try:
        return decode_channel(storage, path, storage.read(path))
    except FileNotFoundError:
        return None


def channels(storage: Storage) -> list[Channel]:
    """Return all channels that can be read, sorted by address."""
    found, _ = channels_and_damage(storage)
    return found


def channels_and_damage(storage: Storage) -> tuple[list[Channel], list[str]]:
    """All channels, sorted by address, and of each that cannot be read, what is wrong with it and what to do.

    Files under `registry/` that lie where no channel does are left aside.
    """
    found, damage, paths = [], [], storage.list("registry")
    homes = _homes(paths).values()
    for path in paths:
        try:
            channel = decode_channel(storage, path, storage.read(path))
        except FileNotFoundError:  # deleted since it was listed
            continue
        except StorageError as error:
            if _CHANNEL_PATH.fullmatch(path):
                damage.append(str(error))
            continue
        if channel.checkpoint in homes:
            found.append(channel)
    return sorted(found, key=lambda channel: channel.address), damage


def mask_damage(storage: Storage, channel: Channel) -> str | None:
    """What is wrong with the record of the mask that a channel holds, and what to do; None if it can be read."""
    try:
        _stored(storage, channel.mask)
    except StorageError as error:
        return f"the mask of {channel.address}: {error}"
    return None


@dataclass(frozen=True)
class _Only:
    """What a channel must hold to be moved; None: nothing."""

    channel: Channel | None


def _moved(
    storage: Storage, to: Channel, only: _Only | None = None, *, why: str, withdraw: str | None = None
) -> Channel:
    """Move a channel to the mask of ``to``, which is not withdrawn any more; ``withdraw`` is from now on."""
    _refuse_unproven(storage, _stored(storage, to.mask))
    path = channel_path(to.checkpoint, to.behaviour, to.channel)
    move = Move(mask=to.mask, at=datetime.now(UTC), by=_who(), why=why)
    held = to

    def change(data: bytes | None) -> bytes:
        nonlocal held
        before = None if data is None else decode_channel(storage, path, data)
        if only is not None and before != only.channel:
            raise ConflictError(f"{to.address} was moved meanwhile: look at it again with `mascing registry show`")
        if data is not None and before is not None and before.mask == to.mask:
            held = before
            return data
        withdrawn = [*(before.withdrawn if before else ()), *([withdraw] if withdraw else [])]
        held = to.model_copy(
            update={
                "history": () if before is None else (*before.history, before.mask),
                "moves": (*(before.moves if before else ()), move),
                "withdrawn": tuple(mask for mask in dict.fromkeys(withdrawn) if mask != to.mask),
            }
        )
        return seal_json(held.model_dump_json(indent=1))

    storage.update(path, change)
    return held


def _who() -> str:
    """The user and the machine, for the history; a container may have no name for its user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _stored(storage: Storage, prefix: str) -> MaskStored:
    try:
        return read_manifest(storage, prefix, MaskStored)
    except FileNotFoundError as error:
        kept = "; the mask that a run kept is unproven" if prefix.startswith(f"{RUNS}/") else ""
        raise StorageError(
            f"{storage.locate(prefix)} holds no finished mask: restore it or choose another{kept}"
        ) from error


def refuse_unfit(storage: Storage, to: Channel) -> None:
    """Raise MaskError unless the card of a channel's mask is of its behaviour and checkpoint, and passes its gates."""
    where, card = storage.locate(to.mask), _card(storage, to.mask)
    for what, found, wanted in (
        ("behaviour", card.behaviour, to.behaviour),
        ("checkpoint", card.data.get("checkpoint"), to.fingerprint),
    ):
        if found != wanted:
            raise MaskError(
                f"{where} is no mask for {to.address}: its gates were passed for the {what} {found}, not for {wanted}: "
                "choose a mask that a run published for it"
            )
    if card.result.gate != "pass":
        raise MaskError(
            f"{where} does not pass its gates ({gate_text(card.result.gate, card.result.reasons)}): choose one that "
            "passes, such as a run publishes"
        )


def _card(storage: Storage, prefix: str) -> MaskCard:
    """The card of a mask. Raises MaskError if it has none that can be read."""
    stored = _stored(storage, prefix)
    if all(shard.name != CARD for shard in stored.shards):
        raise MaskError(
            f"{storage.locate(prefix)} has no card, so nothing says that it passes its gates: choose one that a run "
            "published"
        )
    try:
        return MaskCard.model_validate_json(read_shard(storage, stored, CARD))
    except ValidationError as error:
        raise MaskError(
            f"the card of {storage.locate(prefix)} is not one that this version reads: run again, which publishes the "
            "mask anew"
        ) from error


def _refuse_unproven(storage: Storage, stored: MaskStored) -> None:
    """Raise MaskError if the mask says of itself that it, or a part of it, passed no gates."""
    if all(shard.name != MASK for shard in stored.shards):
        return
    if (why := why_unproven(Mask.from_bytes(read_shard(storage, stored, MASK)))) is not None:
        raise MaskError(
            f"{storage.locate(stored.prefix)} is unproven ({why}) and goes to no channel: publish a mask by a run "
            "whose gates it passes"
        )


def decode_channel(storage: Storage, path: str, data: bytes) -> Channel:
    """The channel at ``path``. Raises StorageError if it is damaged, or another channel's, as a copied file is."""
    try:
        channel = Channel.model_validate_json(open_json(data, storage.locate(path), REMEDY))
    except DataError as error:
        raise StorageError(str(error)) from error
    except ValidationError as error:
        why = complaints(error, Channel)[0]
        raise StorageError(f"{storage.locate(path)} is not a channel ({why}): {REMEDY}") from error
    if path != channel_path(channel.checkpoint, channel.behaviour, channel.channel):
        raise StorageError(
            f"{storage.locate(path)} holds the record of another channel, {channel.address}: restore an earlier copy "
            "of it or, if there never was such a channel, delete it and make one by `mascing registry promote`"
        )
    return channel


def _folder(storage: Storage, checkpoint: NamedCheckpoint) -> str:
    """The folder of a checkpoint's channels: that of its first publication, under whichever name that was."""
    return _homes(storage.list("registry")).get(checkpoint.digest, checkpoint.label)


def _homes(paths: Iterable[str]) -> dict[str, str]:
    """The folder of each checkpoint that has channels, by its digest."""
    folders = sorted({path.split("/")[1] for path in paths if path.count("/") == 3}, reverse=True)
    return {folder.rpartition("-")[2]: folder for folder in folders}


def channel_path(checkpoint: str, behaviour: str, channel: str) -> str:
    """Where a channel lies. Raises StorageError for a name that none can have."""
    for name in (behaviour, channel):
        if not _NAME.fullmatch(name):
            raise StorageError(f"{name!r} cannot name a channel: use letters, digits, dots and dashes")
    return f"registry/{checkpoint}/{behaviour}/{channel}.json"
