"""Follow a channel: the mask that it holds is the default of the server, and moves when the channel does."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from mascing.errors import MascingError, MaskError, StorageError
from mascing.runs.publications.followed_channel import FollowedChannel, RefusedError
from mascing.runs.publications.published_mask import PublishedMask
from mascing.serving.held_masks import HeldMasks
from mascing.serving.limited_reads import LimitedReads
from mascing.steering.steer import check_fits

SECONDS = 2.0
"""Between two looks at the channel."""

_MOST_DOUBLINGS = 8

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Follower:
    """Takes over what a channel holds, if it may be served; else the mask before goes on serving.

    Each refusal is counted by its reason and logged, once for each version of the channel's file and each thing that is
    wrong. What was refused is tried again at every look, so that a mask that is restored, or a storage that answers
    again, needs no further move of the channel.
    """

    def __init__(self, channel: FollowedChannel, held: HeldMasks) -> None:
        self._channel, self._held, self._reads = channel, held, LimitedReads()
        self._taken: str | None = None  # the version of the channel's file whose mask serves
        self._complaint: tuple[str | None, str] | None = None
        held.followed = channel.address

    async def start(self) -> None:
        """Take the channel's mask over. Raises RefusedError: a server must not begin without the mask it should."""
        file, version = await self._read(self._channel.read)
        await self._take(await self._read(partial(self._channel.mask_in, file)))
        self._taken = version

    async def look(self) -> None:
        """Look at the channel once, and take its mask over if it moved."""
        version: str | None = None
        try:
            file, version = await self._read(self._channel.read)
            if version != self._taken:
                published = await self._read(partial(self._channel.mask_in, file))
                await self._take(published)
                self._taken = version
                _log.info("%s moved to %s, which serves now", self._channel.address, published.prefix)
            self._complaint = None
        except RefusedError as refused:
            self._refuse(version, refused)
        except Exception as error:  # noqa: BLE001  # this must not be the last look, whatever it met
            self._refuse(version, RefusedError("error", f"{type(error).__name__}: {error}"))

    async def run(self, seconds: float = SECONDS) -> None:
        """Look again and again, until cancelled.

        Each read that hangs doubles the pause, so that few threads pile up.
        """
        while True:
            await asyncio.sleep(seconds * 2 ** min(self._reads.hanging, _MOST_DOUBLINGS))
            await self.look()

    async def _read(self, work: Callable[[], T]) -> T:
        try:
            return await self._reads.read(work)
        except StorageError as error:
            raise RefusedError("storage", str(error)) from error

    async def _take(self, published: PublishedMask) -> None:
        try:
            check_fits(published.mask, self._held.table.spec)
        except MaskError as error:
            raise RefusedError("foreign", str(error)) from error
        try:
            await self._held.load(self._channel.address, published.mask, as_default=True)
        except MascingError as error:
            raise RefusedError("unheld", str(error)) from error
        self._held.metrics.card = published.card.routing
        if published.card.chat_template:
            _log.warning(
                "%s was found under the chat template options %s: the server must set the same",
                self._channel.address,
                published.card.chat_template,
            )

    def _refuse(self, version: str | None, refused: RefusedError) -> None:
        if self._complaint != (version, str(refused)):
            self._complaint = version, str(refused)
            self._held.metrics.refused(refused.reason)
            _log.warning(
                "%s: refused (%s), the default goes on being %s: %s",
                self._channel.address,
                refused.reason,
                self._held.default_told,
                refused,
            )
