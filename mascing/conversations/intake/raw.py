"""A row as a file has it, before anything is understood of it."""

import re
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

NOT_TEXT = "not UTF-8 text"
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Raw:
    """A row as the file has it: its number from 1 (the line, in JSON Lines), and its columns or what spoils it."""

    number: int
    value: Row | None
    problem: str = ""
    text: str = ""


def readable(text: str) -> str:
    """The start of a text that can be stored whatever it was."""
    return SURROGATE.sub("\ufffd", text[:200])
