"""From the bytes of a file to bytes and text that can be read: compression, encoding, and what is no data at all."""

import codecs
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

import pyarrow as pa

from mascing.errors import DataError

Opener = Callable[[], BinaryIO]
"""Opens a file anew, at its first byte."""

SPOILT = "\udcff"
"""Stands where bytes could not be decoded; no text can hold it otherwise."""

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW = (ARROW_FILE, b"\xff\xff\xff\xff")
"""How Arrow's files and streams begin."""

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_ENCODINGS = {  # the mark of UTF-16 begins that of UTF-32
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The first characters of any of these files are plain ones, most of whose bytes are 0 in wide encodings.
_BY_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
_IN_MEMORY = 2**28
"""Bytes of a decompressed table that stand in memory; a larger one goes to a temporary file."""

_NO_DATA = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it (an Inspect log: `inspect log dump FILE > log.json`), "
    "or save the sheet as CSV",
    b"version https://git-lfs": "the pointer of a Git LFS file, not the file: run `git lfs pull`",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"<": "a web page or XML: download the file itself, not the page that shows it",
    b"BZh": "compressed by bzip2: unpack it",
    b"\xfd7zXZ": "compressed by xz: unpack it",
    b"\x80\x04": "a pickle, which is never read: save the rows as JSON Lines or Parquet",
}


@dataclass(frozen=True)
class Opened:
    """A file's bytes without their compression; ``open`` starts anew. ``head`` holds the first ones."""

    name: str
    open: Opener
    head: bytes
    compression: str | None

    @property
    def encoding(self) -> str:
        """The encoding of the text."""
        return encoding_of(self.head)

    @property
    def is_table(self) -> bool:
        """Whether it is a table in a binary format that pyarrow reads."""
        return self.head.startswith((PARQUET, *ARROW))

    @contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """The bytes as a stream in which one can go back, as tables in a binary format need."""
        with self.open() as stream:
            if self.compression is None:
                yield stream
                return
            with SpooledTemporaryFile(_IN_MEMORY) as whole:
                shutil.copyfileobj(stream, whole)
                whole.seek(0)
                yield whole

    def text(self, newline: str = "\n") -> TextIOWrapper:
        """The text; what cannot be decoded becomes `SPOILT`. Lines end as ``newline`` says (see `open`)."""
        return TextIOWrapper(self.open(), self.encoding, errors="mascing.spoilt", newline=newline)


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a text show; UTF-8 unless they show another."""
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    return _BY_ZEROS.get(tuple(byte == 0 for byte in head[:4]), "utf-8")


def opened(name: str, open_raw: Opener) -> Opened:
    """Look at a file's first bytes. Raises DataError if it is a kind of file that holds no rows."""
    compression = next(
        (kind for mark, kind in _COMPRESSIONS.items() if _head(name, open_raw, 4).startswith(mark)), None
    )

    def plain() -> BinaryIO:
        raw = open_raw()
        return raw if compression is None else _decompressed(raw, compression)

    head = _head(name, plain, 4096)
    for mark, what in _NO_DATA.items():
        if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(mark):
            raise DataError(f"{name} is {what}")
    file = Opened(name, plain, head, compression)
    first_line = head.partition(b"\n")[0]
    if b"\0" in first_line and first_line[:1] not in b"{[" and file.encoding == "utf-8" and not file.is_table:
        raise DataError(f"{name} is neither text nor Parquet nor Arrow: it holds no rows that can be read")
    return file


def _decompressed(raw: BinaryIO, compression: str) -> BinaryIO:
    # pyarrow's stream lacks `readinto1`, which TextIOWrapper does without if a BufferedReader stands between them.
    return cast(BinaryIO, BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression)))


def _head(name: str, open_file: Opener, size: int) -> bytes:
    with reading(name), open_file() as file:
        return file.read(size)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn a failure to read a file into a DataError that names it."""
    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        raise DataError(f"{name} cannot be read: {' '.join(str(error).split())}; is it complete?") from error


def _spoilt(error: UnicodeError) -> tuple[str, int]:
    return SPOILT, cast(UnicodeDecodeError, error).end


codecs.register_error("mascing.spoilt", _spoilt)
