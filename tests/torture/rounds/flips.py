"""A bit of a stored object flips between two starts: the next read says so, with the object's name and a remedy."""

import re
from dataclasses import dataclass
from random import Random

from mascing.errors import MascingError
from mascing.runs.upkeep.verification import verify
from mascing.storage.lease import LEASES
from mascing.storage.object_storage import Storage
from mascing.storage.s3_store import S3Store

_REMEDY = re.compile(r"[Dd]elete (.+?) and run again")


@dataclass(frozen=True)
class Flip:
    """An object of the storage that is damaged."""

    name: str
    data: bytes

    def treated(self, storage: Storage, code: int, last: str) -> list[str]:
        """What is wrong with how a start with this exit code and last line told it; what it says is done.

        A start that did not read the object may end well: then the check of the whole storage must tell it.
        """
        if not self._stays(storage):
            return []
        where = storage.locate(self.name)
        told = [last] if code else [line for line in verify(storage).damaged if where in line]
        if not told or where not in told[0] or not _REMEDY.search(told[0]):
            return [f"the flipped bit of {where} is not told {'by the run' if code else 'by verify'}: {told}"]
        follow(storage, told[0], self.name)
        return [] if not self._stays(storage) else [f"the remedy does not remove {where}: {told[0]}"]

    def _stays(self, storage: Storage) -> bool:
        """Whether it is still there, and was not written anew."""
        try:
            return storage.read(self.name) == self.data
        except FileNotFoundError:
            return False
        except MascingError:  # on S3, the bytes are compared with their checksum at once
            return True


def follow(storage: Storage, told: str, name: str) -> None:
    """Delete what a line says, if it says so; ``name`` is the object that it is about."""
    remedy = _REMEDY.search(told)
    for what in remedy[1].split(" and ") if remedy else ():
        path = {"it": name, "its folder": name.rpartition("/")[0]}.get(what, what.removeprefix("the folder "))
        path = path.removeprefix(f"{storage.url}/").rstrip("/")
        for each in (path, *storage.list(path)):
            if storage.exists(each):
                storage.remove(each)


def flip(storage: Storage, random: Random) -> Flip | None:
    """Flip a bit of one of the objects that the run has written; None if there is none."""
    names = [name for name in storage.list() if not name.startswith((LEASES, "."))]
    if not names:
        return None
    name = random.choice(names)
    data = bytearray(storage.read(name))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    store = storage._store
    if isinstance(store, S3Store):  # what rots on a server leaves what it says of the object as it was
        where = {"Bucket": store._place.bucket, "Key": store._key(name)}
        metadata = store._client.call("head_object", **where)["Metadata"]
        store._client.call("put_object", **where, Body=bytes(data), Metadata=metadata)
    else:
        storage.overwrite(name, bytes(data))
    return Flip(name, bytes(data))
