"""Read parts of a stored Parquet file: its footer, which carries a checksum of its own, and what columns are asked for.

Like the seal of a whole file, the footer's digest is that of its bytes with 64 zeros in its own place; the place of the
seal is zeros as well, because it is filled in last. Pages are checked by the checksums that Parquet gives them.
"""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mascing.errors import DataError
from mascing.storage.sealing import SEAL

FOOTER_SEAL = "mascing.footer"
"""The name of the footer's digest in its key-value metadata."""
UNSEALED_FOOTER = {FOOTER_SEAL: "0" * 64}
"""What a ParquetWriter adds so that :func:`seal_footer` finds a place for the digest."""

_END = 8  # the length of the footer, and Parquet's mark
_READ_AT_FIRST = 2**16
_BLANK = b"0" * 64


@dataclass(frozen=True)
class Ranged:
    """The object ``name`` of ``size`` bytes, of which ``read`` returns those from a first to before a last one."""

    name: str
    size: int
    read: Callable[[int, int], bytes]


class RangedFile(io.RawIOBase):
    """A Ranged as a file for Parquet's reader. Its end is read at once and kept, since it holds the footer."""

    def __init__(self, ranged: Ranged) -> None:
        super().__init__()
        self._ranged, self._place = ranged, 0
        self._start = max(0, ranged.size - _READ_AT_FIRST)
        self._end = ranged.read(self._start, ranged.size)
        missing = _footer_bytes(self._end) + _END - len(self._end)
        if missing > 0 and self._start > 0:
            start = max(0, self._start - missing)
            self._end, self._start = ranged.read(start, self._start) + self._end, start

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the place where the file is."""
        with memoryview(buffer).cast("B") as view:
            stop = min(self._place + len(view), self._ranged.size)
            data = self._read(self._place, stop) if stop > self._place else b""
            view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ranged.size}[whence]
        return self._place

    def tell(self) -> int:
        """Where the file is."""
        return self._place

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def _read(self, start: int, stop: int) -> bytes:
        if start >= self._start:
            return self._end[start - self._start : stop - self._start]
        return self._ranged.read(start, stop)


def seal_footer(file: io.BytesIO) -> None:
    """Fill in the digest of the footer of a file that was written with UNSEALED_FOOTER and UNSEALED; then seal it."""
    with file.getbuffer() as view:
        footer = view[len(view) - _END - _footer_bytes(view) : -_END]
        start = _place(bytes(footer), FOOTER_SEAL)
        assert start is not None, "the file was not written with UNSEALED_FOOTER"
        footer[start : start + len(_BLANK)] = hashlib.sha256(footer).hexdigest().encode()


def check_footer(footer: bytes, name: str) -> None:
    """Raise DataError, which calls the file ``name``, unless this is the footer that was sealed."""
    blank, places = bytearray(footer), [_place(footer, key) for key in (FOOTER_SEAL, SEAL)]
    for start in places:
        if start is None:
            raise DataError(
                f"checksum failed: {name} carries none in its footer: it is damaged or of an earlier version: delete "
                "it and run again"
            )
        blank[start : start + len(_BLANK)] = _BLANK
    own = places[0]
    assert own is not None
    if hashlib.sha256(blank).hexdigest().encode() != footer[own : own + len(_BLANK)]:
        raise DataError(f"checksum failed: the footer of {name} is damaged: delete it and run again")


def footer_of(file: Any) -> bytes:
    """The footer of a Parquet file that is open for reading."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END))
    end = file.read(_END)
    file.seek(max(0, size - _END - _footer_bytes(end)))
    footer: bytes = file.read(max(0, min(size - _END, _footer_bytes(end))))
    file.seek(0)
    return footer


def _footer_bytes(end: bytes | memoryview) -> int:
    """The length of the footer, which stands before Parquet's mark at the end of a file."""
    return int.from_bytes(end[-_END:][:4], "little")


def _place(footer: bytes, key: str) -> int | None:
    """Where a digest begins: between key and digest stand the type and the length of a value."""
    found = re.search(re.escape(key.encode()) + rb"\x18\x40([0-9a-f]{64})", footer)
    return found.start(1) if found else None
