"""The lines of a model's answer without what models put around a verdict: bullets, bold, fences, quotes, a full stop.

A mark of quotation (`>`), of negation (`!`, `~~`) or of doubt (`?`) says something, and stays.
"""

import re

from mascing.judges.plain_text import visible

_FENCE = re.compile(r"(?:```|~~~)[ \t]*\w*")
_END_OF_TURN = re.compile(r"(?:\s*(?:<\|[^<>|\s]{1,40}\|>|</s>|<end_of_turn>))+\s*\Z")
_EMPHASIS = re.compile(r"\*+|`+|(?<!\w)_+|_+(?!\w)")
# A mark needs a blank after it: "- safe" is an item of a list, and "-safe" may be anything.
_ITEM = re.compile(r"(?:[-*+\u2022\u2013\u2014]|#{1,6}|\d{1,2}[.)])[ \t]+")
_AROUND = " \t\"'\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d[]"
_STOP = re.compile(r"(?<![.!\u3002])[.!\u3002]\Z")


def bare_lines(text: str) -> list[str]:
    """The lines that say something, each bare."""
    lines = _END_OF_TURN.sub("", visible(text)).splitlines()
    bare = [bare_line(line) for line in lines if not _FENCE.fullmatch(line.strip())]
    return [line for line in bare if line]


def bare_line(line: str) -> str:
    """The line in Unicode's compatibility form without what stands around its words: ``- **"Safe."**`` is ``Safe``."""
    text = visible(line).strip()
    while item := _ITEM.match(text.lstrip("*_` ")):
        text = text.lstrip("*_` ")[item.end() :]
    text = _EMPHASIS.sub("", text).strip(_AROUND)
    return _STOP.sub("", text).strip(_AROUND)
