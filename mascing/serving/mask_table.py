"""The masks that a server holds: each in a slot of its own, found by name or digest, one of them the default."""

import re
import threading
from collections import Counter
from dataclasses import dataclass

from mascing.errors import MaskError
from mascing.masks.mask import Mask, refuse_empty
from mascing.routers.spec import RouterSpec
from mascing.serving.choice import NO_MASK, Choice
from mascing.steering.steer import check_fits

UNSTEERED = 0
"""The slot that steers nothing."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Admission:
    """What was decided for a request when it came: its mask cannot change until its reply is done.

    ``digest`` and ``name`` are None, and ``slot`` is UNSTEERED, for a request that nothing steers.
    """

    slot: int
    digest: str | None
    name: str | None
    choice: Choice


class MaskTable:
    """Masks by slot, 1 to ``slots``, for a model with the routers ``spec``.

    A mask becomes visible in two steps, so that no request meets one that is half in place: :meth:`reserve` gives a
    slot, whoever runs the model writes the mask there, then :meth:`publish` names it. A slot is free again when no name
    is left on it and every reply under it is done. All methods may be called from any thread.
    """

    def __init__(self, spec: RouterSpec, slots: int) -> None:
        self.spec, self.slots = spec, slots
        self._masks: dict[int, tuple[Mask, str]] = {}
        self._names: dict[str, int] = {}
        self._default: str | None = None
        self._running: Counter[int] = Counter()
        self._lock = threading.RLock()

    @property
    def default(self) -> str | None:
        """The name of the mask for requests that ask for none; None if such requests are not steered."""
        return self._default

    @property
    def named(self) -> dict[str, str]:
        """The digest of each mask by its name."""
        with self._lock:
            return {name: self._masks[slot][1] for name, slot in sorted(self._names.items())}

    @property
    def masks(self) -> dict[str, Mask]:
        """Each mask by its name."""
        with self._lock:
            return {name: self._masks[slot][0] for name, slot in sorted(self._names.items())}

    def reserve(self, mask: Mask) -> tuple[int, bool]:
        """A slot for the mask, and whether the mask must still be written there.

        Raises MaskError if the mask was made for another model or moves nothing, or if no slot is free.
        """
        check_fits(mask, self.spec)
        refuse_empty(mask)
        digest = mask.digest
        with self._lock:
            for slot, (_, held) in self._masks.items():
                if held == digest:
                    self._running[slot] += 1  # stays until it is published or discarded
                    return slot, False
            free = next((slot for slot in range(1, self.slots + 1) if slot not in self._masks), None)
            if free is None:
                raise MaskError(self._full())
            self._masks[free] = mask, digest
            self._running[free] += 1
            return free, True

    def publish(self, name: str, slot: int) -> None:
        """Give the mask in a reserved slot a name; a mask that had the name before loses it."""
        with self._lock:
            before = self._names.get(name)
            self._names[name] = slot
            self._done(slot)
            if before is not None:
                self._free_if_idle(before)

    def discard(self, slot: int) -> None:
        """Give up a reserved slot, because the mask could not be written there."""
        self._done(slot)

    def withdraw(self, name: str) -> None:
        """Forget a name. Raises MaskError if no mask has it, or if it is the default's."""
        with self._lock:
            if name not in self._names:
                raise MaskError(self._unknown(name))
            if name == self._default:
                raise MaskError(f"{name} is the default: name another default first, or {NO_MASK!r}")
            self._free_if_idle(self._names.pop(name))

    def make_default(self, asked: str | None) -> None:
        """Steer requests that ask for no mask by this one from now on; None leaves them unsteered.

        Raises MaskError if no mask, or more than one, has this name or begin of its digest.
        """
        with self._lock:
            self._default = None if asked is None else self._found(asked)[1]

    def admit(self, choice: Choice) -> Admission:
        """Decide what steers a request; :meth:`release` must follow. Raises MaskError for a mask that is not held."""
        with self._lock:
            asked = self._default if choice.mask is None else choice.mask
            if asked is None or asked == NO_MASK:
                return Admission(UNSTEERED, None, None, choice)
            slot, name = self._found(asked)
            self._running[slot] += 1
            return Admission(slot, self._masks[slot][1], name, choice)

    def release(self, admission: Admission) -> None:
        """The reply of an admitted request is done, or was given up."""
        if admission.slot != UNSTEERED:
            self._done(admission.slot)

    def mask_in(self, slot: int) -> Mask:
        """The mask in a slot that is not free."""
        return self._masks[slot][0]

    def _found(self, asked: str) -> tuple[int, str]:
        """The slot and a name of the mask with this name or begin of its digest."""
        if asked in self._names:
            return self._names[asked], asked
        named = set(self._names.values())
        found = {slot for slot in named if _DIGEST.fullmatch(asked) and self._masks[slot][1].startswith(asked)}
        if len(found) != 1:
            raise MaskError(self._unknown(asked) if not found else f"several masks have a digest that begins {asked}")
        slot = found.pop()
        return slot, next(name for name, at in self._names.items() if at == slot)

    def _unknown(self, asked: str) -> str:
        held = ", ".join(f"{name} ({digest[:12]})" for name, digest in list(self.named.items())[:8]) or "no mask"
        return f"this server holds no mask {asked!r}: it holds {held}"

    def _full(self) -> str:
        ending = len(self._masks) - len(set(self._names.values()))
        under_way = f", {ending} of them only until replies under way are done" if ending else ""
        return (
            f"all {self.slots} slots hold masks{under_way}: unload one, or start the server with more --slots; "
            "a mask that takes the name of another needs a free one too"
        )

    def _done(self, slot: int) -> None:
        with self._lock:
            self._running[slot] -= 1
            self._free_if_idle(slot)

    def _free_if_idle(self, slot: int) -> None:
        if self._running[slot] <= 0 and slot not in self._names.values():
            self._masks.pop(slot, None)
            self._running.pop(slot, None)


def checked_name(name: str) -> str:
    """The name, if a mask can have it; raises MaskError otherwise."""
    if not _NAME.fullmatch(name) or name == NO_MASK or _DIGEST.fullmatch(name):
        raise MaskError(
            f"a mask cannot be named {name!r}: letters, digits and ._/@:+- make a name, up to 200 of them, and it is "
            f"neither {NO_MASK!r} nor eight or more hexadecimal digits, which would be read as a digest"
        )
    return name
