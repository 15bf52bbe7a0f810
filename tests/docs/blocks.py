"""The fenced blocks of code of a page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(<!-- not run by a test: (?P<why>[^>]+) -->\n)?^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """Code on a page; ``why`` says why no test runs it, if none does."""

    page: Path
    language: str
    code: str
    why: str | None


def all_blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(page, found["language"], found["code"], found["why"])


def blocks(page: Path, language: str) -> list[str]:
    """The code of the blocks of a language, in order."""
    return [block.code for block in all_blocks(page) if block.language == language]
