"""Sentences for whoever reads them: counted nouns, and lines wrapped at words on a terminal but whole in a log."""

import re
import shutil
import sys
from textwrap import fill
from typing import TextIO

_COMMANDS = (
    "audit|behaviours|campaign|check|conversations|demo|doctor|harvest|judge|label|mask|plan|registry|report|run|runs|serve|"
    "storage|traces"
)
# A command ends with its line, or where the sentence around it goes on.
_WHOLE = re.compile(rf"`[^`]*`|\bmascing (?:{_COMMANDS})\b(?: [^\s,;()]+)*")
_MARGIN = re.compile(r"(?: +|-> |\S+(?: \S+)? {2,})*")
_LEAST = 30
"""Columns that words get beside the margin on a terminal that is too narrow for both."""
_JOINT = "\N{NO-BREAK SPACE}"


def wrapped(line: str, width: int) -> str:
    """Break a line at words into lines of ``width`` columns, all below the beginning of its text.

    A command stays in one piece, so that it can be copied, and so does a path; on a narrow terminal they are longer
    than a line.
    """
    margin = len(_MARGIN.match(line).group())  # type: ignore[union-attr]  # it matches the empty text
    joined = _WHOLE.sub(lambda whole: whole.group().replace(" ", _JOINT), line)
    lines = fill(
        joined,
        max(width, margin + _LEAST),
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_JOINT, " ")


def counted(number: float, noun: str, plural: str | None = None) -> str:
    """``1 row``, ``2 rows``; ``plural`` for a noun whose plural is not made by an s."""
    return f"{number:.12g} {noun}" if number == 1 else f"{number:.12g} {plural or noun + 's'}"


def echo_prose(line: str, stream: TextIO | None = None) -> None:
    """Print a line on ``stream``, by default the standard output: wrapped if that is a terminal, else as it is."""
    stream = stream or sys.stdout
    print(wrapped(line, shutil.get_terminal_size().columns) if stream.isatty() else line, file=stream, flush=True)


def echo_command(command: str) -> None:
    """Print a command of another program in one line, also where it is longer than those of the terminal: to copy."""
    sys.stdout.write(f"{command}\n")
    sys.stdout.flush()
