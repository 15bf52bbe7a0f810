"""Read made-up files of conversations in tests."""

from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any

from pydantic import TypeAdapter

from mascing.conversations.intake.reader import Read, Reading, open_conversations, read_all
from mascing.schemas.settings.columns import Columns, LayoutName


def opened(data: bytes | Mapping[str, bytes], columns: Any = None) -> Reading:
    """A reading of one file, or of several by name; ``columns`` is a layout's name or a mapping."""
    files = data if isinstance(data, Mapping) else {"rows": data}
    mapping = TypeAdapter(LayoutName | Columns | None).validate_python(columns)
    return open_conversations({name: partial(BytesIO, each) for name, each in files.items()}, mapping, 1000)


def read(data: bytes | Mapping[str, bytes], columns: Any = None) -> Read:
    """Everything in one file or in several."""
    return read_all(opened(data, columns))
