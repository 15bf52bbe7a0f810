"""A bit of a stored object flips between two starts: the next read must say so, with the object's name."""

from dataclasses import dataclass
from random import Random

from mascing.runs.upkeep.verification import verify
from mascing.storage.lease import LEASES
from mascing.storage.object_storage import Storage
from tests.torture.rounds.soundness import is_work


@dataclass(frozen=True)
class Flip:
    """An object of the storage that is damaged."""

    name: str
    data: bytes

    def found(self, storage: Storage, code: int, last: str) -> list[str]:
        """What is wrong with how it was found, if the next start ended so; it is removed.

        A start that did not read the object may end well: then the check of the whole storage must find it.
        """
        try:
            if storage.read(self.name) != self.data:
                return []  # it was written anew
        except FileNotFoundError:
            return []
        told = last if code else "; ".join(verify(storage).damaged)
        storage.remove(self.name)
        if self.name not in told or "Traceback" in told:
            return [f"the flipped bit of {self.name} is not told ({'by the run' if code else 'by verify'}): {told}"]
        return []


def flip(storage: Storage, random: Random) -> Flip | None:
    """Flip a bit of one of the objects that the run has written; None if there is none."""
    names = [name for name in storage.list() if is_work(name) and name.partition("/")[0] != LEASES]
    if not names:
        return None
    name = random.choice(names)
    data = bytearray(storage.read(name))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    storage.overwrite(name, bytes(data))
    return Flip(name, bytes(data))
