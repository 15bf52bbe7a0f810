"""Bring masks into the model that is served, and take them out, while it replies."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mascing.masks.mask import Mask
from mascing.serving.mask_table import MaskTable, checked_name
from mascing.serving.metrics import ServingMetrics


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
            with self._swaps_counted():
                self.table.publish(name, slot)
                if as_default:
                    self.table.make_default(name)

    def make_default(self, name: str | None) -> None:
        """Steer requests that ask for no mask by this one; None for none. Raises MaskError if it is not held."""
        with self._swaps_counted():
            self.table.make_default(name)

    def unload(self, name: str) -> None:
        """Hold a mask no longer under this name. Raises MaskError if none has it, or if it is the default."""
        self.table.withdraw(name)

    @contextmanager
    def _swaps_counted(self) -> Iterator[None]:
        before = self._default_digest()
        yield
        if self._default_digest() != before:
            self.metrics.swapped()

    def _default_digest(self) -> str | None:
        name = self.table.default
        return None if name is None else self.table.named[name]
