"""Seals: a file carries the SHA-256 of its own bytes, so that no bit of it changes unnoticed, wherever it is stored.

The digest is that of the whole file with 64 zeros in its own place, and is named ``mascing.sha256``: in the metadata of
Parquet's footer or of safetensors' header, as the last member of a JSON object, or in a comment on the last line of
YAML and HTML.
"""

import hashlib
import io
import re

from mascing.errors import DataError

SEAL = "mascing.sha256"
"""The name of the digest in a file."""
UNSEALED = {SEAL: "0" * 64}
"""What a ParquetWriter adds to its key-value metadata so that :func:`seal` finds a place for the digest."""

_BLANK = b"0" * 64
_MEMBER = f',\n "{SEAL}": "'
_COMMENTS = {
    ".yaml": f'# Written by mascing; who edits this file deletes this line. "{SEAL}": "{UNSEALED[SEAL]}"\n',
    ".html": f'<!-- "{SEAL}": "{UNSEALED[SEAL]}" -->\n',
}
# Between name and digest stand the type and the length of a value in Parquet's footer, or the marks of JSON.
_SEAL = re.compile(rb'mascing\.sha256(?:\x18\x40|": ?")([0-9a-f]{64})')
# What the end of a sealed text has: where one of both is damaged, the other one is still there.
_SEALED_END = re.compile(rb'"mascing\.sha256"|[0-9a-f]{64}"(?:\n}| -->)?\n\Z')
_END_BYTES = 256
_REMEDY = "delete it and run again"


def seal(file: io.BytesIO) -> bytes:
    """The bytes of a file that was written with :data:`UNSEALED`, now with their digest; none are copied."""
    start = _place(file.getvalue())
    assert start is not None, "the file was not written with UNSEALED"
    with file.getbuffer() as view:
        view[start : start + len(_BLANK)] = _digest(view, start)
    return file.getvalue()


def check(data: bytes, name: str, remedy: str = _REMEDY) -> None:
    """Raise DataError, which calls the file ``name``, unless these are the bytes that were sealed.

    A file without a seal is refused as well: its seal may be what is damaged.
    """
    start = _place(data)
    if start is None:
        raise DataError(f"checksum failed: {name} carries none: it is damaged or of an earlier version: {remedy}")
    if _digest(data, start) != data[start : start + len(_BLANK)]:
        raise DataError(f"checksum failed: {name} is damaged: {remedy}")


def seal_json(text: str) -> bytes:
    """The text of a JSON object that has members, with a seal as its last one."""
    members = text.rstrip().removesuffix("}").rstrip()
    return seal(io.BytesIO(f'{members}{_MEMBER}{UNSEALED[SEAL]}"\n}}\n'.encode()))


def open_json(data: bytes, name: str, remedy: str = _REMEDY) -> bytes:
    """The object without its seal. Raises DataError, which calls it ``name``, unless the bytes are those sealed.

    What has no seal is returned as it is: earlier versions set none.
    """
    check_text(data, name, remedy)
    start = _place(data)
    return data if start is None else data[: start - len(_MEMBER)] + b"\n}\n"


def seal_text(text: str, ending: str) -> bytes:
    """The text of a ``.yaml`` or ``.html`` file with a seal in a comment on its last line."""
    return seal(io.BytesIO(f"{text.rstrip()}\n{_COMMENTS[ending]}".encode()))


def check_text(data: bytes, name: str, remedy: str = _REMEDY) -> bool:
    """Raise DataError, which calls the text ``name``, if it has a seal and is not what was sealed.

    Returns whether it has one. A text without a seal passes: a user wrote it, or an earlier version.
    """
    sealed = _SEALED_END.search(data[-_END_BYTES:]) is not None
    if sealed:
        check(data, name, remedy)
    return sealed


def _place(data: bytes) -> int | None:
    """Where the digest begins; the last seal is the file's own, an earlier one may be part of its content."""
    found = _SEAL.match(data, max(data.rfind(SEAL.encode()), 0))
    return found.start(1) if found else None


def _digest(data: bytes | memoryview, start: int) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[start + len(_BLANK) :])
    return digest.hexdigest().encode()
