"""From a file to rows: JSON Lines, JSON, CSV, TSV, Parquet and Arrow, told apart by their content."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from mascing.conversations.intake.delimited import delimited
from mascing.conversations.intake.opening import ARROW, ARROW_FILE, PARQUET, SPOILT, Opened, reading
from mascing.conversations.intake.raw import NOT_TEXT, SURROGATE, Raw, Row, readable
from mascing.errors import DataError
from mascing.validation import distinct

_BATCH = 1024
_LINES_SEEN = 200
_WRAPPERS = ("samples", "jailbreaks", "data", "rows", "examples", "instances", "items", "conversations")
_OF_TURNS = {"role", "from"}
_OF_ROWS = {"messages", "prompt", "question"}
"""Columns of an object that is a row itself, whatever lists it holds beside."""
_NOT_BLANK = re.compile(r"\S")


@dataclass(frozen=True)
class Format:
    """What a file is, and its rows; ``unit`` is what its row numbers count."""

    name: str
    unit: str
    rows: Callable[[], Iterator[Raw]]


def format_of(file: Opened) -> Format:
    """Tell the format by the content. Raises DataError if it cannot be read."""
    compressed = f", {file.compression}" if file.compression else ""
    with reading(file.name):
        if file.head.startswith(PARQUET):
            return Format(f"Parquet{compressed}", "row", lambda: _numbered(_parquet_rows(file)))
        if file.head.startswith(ARROW):
            return Format(f"Arrow{compressed}", "row", lambda: _numbered(_arrow_rows(file)))
        with file.text() as text:
            lines = [line.strip() for line in islice(text, _LINES_SEEN) if line.strip()]
    first = lines[0] if lines else ""
    encoding = file.encoding.upper()
    suffix = (f", {encoding}" if encoding != "UTF-8" else "") + compressed
    alone = len(lines) == 1 or not _is_json(first)
    if first.startswith(("{", "[")) and alone and (document := _document(file, len(lines) == 1)):
        return Format(f"JSON{suffix}", "row", document)
    braces = sum(line.startswith("{") for line in lines)
    if first[:1] in ("{", "[", "") or braces > len(lines) / 2:
        return Format(f"JSON Lines{suffix}", "line", lambda: json_lines(_lines(file)))
    delimiter = max(",\t;", key=first.count)
    name = {"\t": "TSV", ",": "CSV", ";": "CSV with semicolons"}[delimiter]
    return Format(f"{name}{suffix}", "row", lambda: delimited(file, delimiter))


def json_lines(lines: Iterable[str]) -> Iterator[Raw]:
    """A row per line; blank lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _raw(number, line)


def _lines(file: Opened) -> Iterator[str]:
    with reading(file.name), file.text() as text:
        yield from text


def _raw(number: int, text: str) -> Raw:
    if SURROGATE.search(text):
        return Raw(number, None, NOT_TEXT, readable(text))
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=distinct)
    except RecursionError:
        return Raw(number, None, "not a conversation: nested too deeply", readable(text))
    except ValueError as error:
        return Raw(number, None, f"not JSON: {error}", readable(text))
    return _checked(number, value, text)


def _checked(number: int, value: object, text: str) -> Raw:
    """A parsed value as a row, unless it is no object or holds what is no character."""
    if not isinstance(value, dict):
        return Raw(number, None, f"not a JSON object but {_kind(value)}", readable(text))
    if "\\u" in text and SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        return Raw(number, None, "a text holds half of a surrogate pair, which is no character", readable(text))
    return Raw(number, value, text=readable(text))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _document(file: Opened, one_line: bool) -> Callable[[], Iterator[Raw]] | None:
    """The rows of a JSON array, of an object that wraps one, or of objects one after another; None if JSON Lines."""
    with file.text() as opened:
        text = opened.read()
    start = re.compile(r"\s*\[\s*").match(text)
    if start is not None:
        return lambda: _array(text, start.end())
    if SPOILT in text:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip()))
    except (ValueError, RecursionError):
        return None
    if text[end:].strip():
        return None if one_line else lambda: _one_after_another(text)
    rows = _wrapped(value)
    if rows is None:
        return None if one_line else lambda: iter([_checked(1, value, text)])
    return lambda: (_checked(number, row, json.dumps(row)) for number, row in enumerate(rows, start=1))


def _wrapped(value: Row) -> list[Row] | None:
    """The list of rows that an object holds beside facts about them; a list of turns is no list of rows."""
    if value and all(isinstance(column, dict) and column and "0" in column for column in value.values()):
        # As pandas writes a table: columns of cells by row number.
        return [
            {name: column[number] for name, column in value.items() if number in column}
            for number in next(iter(value.values()))
        ]
    for name in () if value.keys() & _OF_ROWS else _WRAPPERS:
        rows = value.get(name)
        if (
            isinstance(rows, list)
            and rows
            and all(isinstance(row, dict) and not row.keys() & _OF_TURNS for row in rows)
        ):
            return [row["row"] if isinstance(row.get("row"), dict) and "row_idx" in row else row for row in rows]
    return None


def _array(text: str, position: int) -> Iterator[Raw]:
    """The rows one by one, so that the text alone stands in memory. Raises DataError where it is no JSON."""
    between = re.compile(r"\s*(,|\])\s*")
    number = 0
    while not text.startswith("]", position):
        number += 1
        row, end = _row_at(text, position, number)
        yield row
        after = between.match(text, end)
        if after is None:
            raise DataError(f"the JSON array breaks off after row {number}: a comma or ] must follow; mend the file")
        position = after.end()
        if after.group(1) == "]":
            if position < len(text):
                raise DataError(f"something follows the JSON array after row {number}; mend the file")
            return


def _one_after_another(text: str) -> Iterator[Raw]:
    """The rows of a file of indented objects. Raises DataError where it is no JSON."""
    number, end = 0, 0
    while (start := _NOT_BLANK.search(text, end)) is not None:
        number += 1
        row, end = _row_at(text, start.start(), number)
        yield row


def _row_at(text: str, position: int, number: int) -> tuple[Raw, int]:
    """The row that begins at a position, and the position of its end."""
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the JSON breaks off at row {number}: {error}; mend the file there") from error
    row = text[position:end]
    return Raw(number, None, NOT_TEXT, readable(row)) if SPOILT in row else _checked(number, value, row), end


def _parquet_rows(file: Opened) -> Iterator[Row]:
    with reading(file.name), file.seekable() as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()


def _arrow_rows(file: Opened) -> Iterator[Row]:
    with reading(file.name), file.seekable() as stream:
        if file.head.startswith(ARROW_FILE):
            whole = pa.ipc.open_file(stream)
            batches: Iterable[pa.RecordBatch] = (whole.get_batch(n) for n in range(whole.num_record_batches))
        else:
            batches = pa.ipc.open_stream(stream)
        for batch in batches:
            for start in range(0, len(batch), _BATCH):
                yield from batch.slice(start, _BATCH).to_pylist()


def _numbered(rows: Iterable[Row]) -> Iterator[Raw]:
    for number, row in enumerate(rows, start=1):
        text = next((value for value in row.values() if isinstance(value, str)), "")
        yield Raw(number, row, text=readable(text))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=_refuse_constant)


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
