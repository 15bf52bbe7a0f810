"""A channel as a server follows it: what it holds now, and whether that may be served."""

from typing import Literal

from pydantic import ValidationError

from mascing.errors import DamagedError, DataError, MascingError, MaskError, StorageError
from mascing.masks.unproven import why_unproven
from mascing.runs.publications.published_mask import PublishedMask, published_mask
from mascing.runs.registry import REMEDY, channel_path, decode_channel, refuse_unfit
from mascing.schemas.cards.mask_card import Channel
from mascing.storage.object_storage import Storage

Reason = Literal[
    "storage", "channel", "damaged", "corrupt", "card", "digest", "unfit", "unproven", "foreign", "unheld", "error"
]
"""Why the mask of a channel is not served.

``storage``: it does not answer. ``channel``: the channel's file is damaged or gone. ``damaged``: the stored bytes are
not those that were published. ``corrupt``: they are no mask. ``card``: there is none that can be read. ``digest``: the
mask is not that of its card. ``unfit``: its card is of another behaviour or checkpoint, or passes no gates.
``unproven``: it says so of itself. ``foreign``: it was made for another model. ``unheld``: the model did not take it.
``error``: something else, which the log names.
"""


class RefusedError(MascingError):
    """A channel or its mask that is not served, and the ``reason`` by which such are counted."""

    def __init__(self, reason: Reason, said: str) -> None:
        super().__init__(said)
        self.reason: Reason = reason


class FollowedChannel:
    """A channel that was found once, read again and again."""

    def __init__(self, storage: Storage, found: Channel) -> None:
        self._storage, self.address = storage, found.address
        self._path = channel_path(found.checkpoint, found.behaviour, found.channel)

    def read(self) -> tuple[bytes, str]:
        """The channel's file and its version (ETag). Raises RefusedError."""
        try:
            return self._storage.read_versioned(self._path)
        except FileNotFoundError as error:
            raise RefusedError(
                "channel", f"{self._storage.locate(self._path)}, the file of the channel, is gone: {REMEDY}"
            ) from error
        except StorageError as error:
            raise RefusedError("storage", str(error)) from error

    def mask_in(self, file: bytes) -> PublishedMask:
        """The mask that the file names, with its card, which say the same and may be served. Raises RefusedError."""
        try:
            channel = decode_channel(self._storage, self._path, file)
        except StorageError as error:
            raise RefusedError("channel", str(error)) from error
        published = self._read(channel)
        where, said = self._storage.locate(channel.mask), published.card.mask_digest
        if published.mask.digest != said:
            raise RefusedError(
                "digest",
                f"the mask at {where} is not the one on its card: digest {published.mask.digest[:12]}, the card says "
                f"{said[:12]}: publish it again, or roll the channel back",
            )
        if (why := why_unproven(published.mask)) is not None:
            raise RefusedError("unproven", f"the mask at {where} is unproven ({why}): publish one by a run")
        try:
            refuse_unfit(self._storage, channel)
        except (MaskError, StorageError) as error:
            raise RefusedError("unfit" if isinstance(error, MaskError) else "storage", str(error)) from error
        return published

    def _read(self, channel: Channel) -> PublishedMask:
        try:
            return published_mask(self._storage, channel.mask)
        except StorageError as error:
            is_there = isinstance(error, DamagedError) or isinstance(error.__cause__, _WHAT_IS_STORED_IS_WRONG)
            raise RefusedError("damaged" if is_there else "storage", str(error)) from error
        except DataError as error:
            raise RefusedError("card", str(error)) from error
        except MaskError as error:
            raise RefusedError("corrupt", f"the mask at {self._storage.locate(channel.mask)}: {error}") from error


_WHAT_IS_STORED_IS_WRONG = (DataError, ValidationError, FileNotFoundError)
