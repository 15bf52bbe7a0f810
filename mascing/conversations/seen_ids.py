"""The ids of very many conversations in little memory."""

import hashlib
from typing import Any

import numpy as np

_FIRST_SLOTS = 2**12


class SeenIds:
    """The row of each id, in 24 to 48 bytes an id: open addressing by 64 bits of the id's hash.

    Two different ids of a billion are taken for one with a probability of 3%, and of a million with 3e-8.
    """

    def __init__(self) -> None:
        self._used = 0
        self._make(_FIRST_SLOTS)

    def __contains__(self, name: str) -> bool:
        return bool(self._keys[self._slot(_hash(name))])

    def __getitem__(self, name: str) -> int:
        slot = self._slot(_hash(name))
        if not self._keys[slot]:
            raise KeyError(name)
        return int(self._rows[slot])

    def __setitem__(self, name: str, row: int) -> None:
        self._put(_hash(name), row)
        if 3 * self._used > 2 * len(self._keys):
            self._grow()

    def __len__(self) -> int:
        return self._used

    def _make(self, slots: int) -> None:
        self._keys: np.ndarray[Any, np.dtype[np.uint64]] = np.zeros(slots, np.uint64)  # 0 is a free slot
        self._rows: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(slots, np.int64)

    def _slot(self, key: int) -> int:
        """Where the key stands, or the free slot where it would."""
        slot = key % len(self._keys)
        while (there := int(self._keys[slot])) and there != key:
            slot = (slot + 1) % len(self._keys)
        return slot

    def _put(self, key: int, row: int) -> None:
        slot = self._slot(key)
        self._used += not self._keys[slot]
        self._keys[slot], self._rows[slot] = key, row

    def _grow(self) -> None:
        taken = np.flatnonzero(self._keys)
        keys, rows = self._keys[taken], self._rows[taken]
        self._make(2 * len(self._keys))
        self._used = 0
        for start in range(0, len(keys), _FIRST_SLOTS):  # a list of all would take more than the table
            some = slice(start, start + _FIRST_SLOTS)
            for key, row in zip(keys[some].tolist(), rows[some].tolist(), strict=True):
                self._put(key, row)


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) or 1
