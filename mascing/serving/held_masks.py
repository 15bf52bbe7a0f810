"""Bring masks into the model that is served, and take them out, while it replies."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mascing.masks.mask import Mask
from mascing.serving.mask_table import MaskTable, checked_name
from mascing.serving.metrics import ServingMetrics

_log = logging.getLogger(__name__)


class Carrier(Protocol):
    """Whoever runs the model."""

    async def write(self, slot: int, mask: Mask) -> None:
        """Put the mask into a slot of the model that no request uses; it is in force there once this returns.

        Raises a MascingError if the model does not take it, and then leaves nothing in force.
        """


class HeldMasks:
    """The masks of a table, which are written into the model by ``carrier``, one at a time."""

    def __init__(self, table: MaskTable, carrier: Carrier, metrics: ServingMetrics) -> None:
        self.table, self.metrics = table, metrics
        self.followed: str | None = None
        """The address of the channel whose mask is the default, if one is followed."""
        self._carrier = carrier
        # A second load of the same mask must not name it before the first has written it.
        self._one_at_a_time = asyncio.Lock()

    async def load(self, name: str, mask: Mask, *, as_default: bool = False) -> None:
        """Hold a mask under a name; another that had the name serves the replies that run under it, and no new ones.

        Raises MaskError if the name is none, the mask is not for this model, or no slot is free, and what the model
        raises if it does not take the mask; then all is as it was.
        """
        checked_name(name)
        async with self._one_at_a_time:
            slot, is_new = self.table.reserve(mask)
            try:
                if is_new:
                    await self._carrier.write(slot, mask)
            except BaseException:
                self.table.discard(slot)
                raise
            with self._swaps_told():
                self.table.publish(name, slot)
                if as_default:
                    self.table.make_default(name)

    def make_default(self, asked: str | None) -> None:
        """Steer requests that ask for no mask by the one of this name or digest; None for none.

        Raises MaskError if it is not held.
        """
        with self._swaps_told():
            self.table.make_default(asked)

    def unload(self, name: str) -> None:
        """Hold a mask no longer under this name. Raises MaskError if none has it, or if it is the default."""
        self.table.withdraw(name)

    @property
    def default_told(self) -> str:
        """The default with its digest, in words."""
        name = self.table.default
        return "no mask" if name is None else f"{name} ({self.table.named[name]})"

    @contextmanager
    def _swaps_told(self) -> Iterator[None]:
        """Count and log that the default became another mask, or the same by another name."""
        before, digest_before = self.default_told, self._default_digest()
        yield
        if self._default_digest() != digest_before:
            self.metrics.swapped()
        if self.default_told != before:
            _log.info("the default is %s now; before it was %s", self.default_told, before)

    def _default_digest(self) -> str | None:
        name = self.table.default
        return None if name is None else self.table.named[name]
