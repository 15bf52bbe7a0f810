"""Formats, encodings and compression: told by the content, and read row by row."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mascing.errors import DataError
from tests.mascing.conversations.intake.files import opened, read

ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "Name a bread, “quickly”", "kind": "x"},
    {"id": "b", "prompt": "Name a\ntown", "kind": "y"},
]
EXPECTED = [("a", "Name a bread, “quickly”"), ("b", "Name a\ntown")]


def json_lines(end: str = "\n") -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}{end}" for row in ROWS).encode()


def delimited(delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["id", "prompt", "kind"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


def arrow(writer: Callable[..., Any]) -> bytes:
    out, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with writer(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


FORMATS = {
    "JSON Lines": json_lines(),
    "JSON": json.dumps(ROWS, indent=2).encode(),
    "CSV": delimited(","),
    "TSV": delimited("\t"),
    "CSV with semicolons": delimited(";"),
    "Parquet": parquet(),
    "Arrow": arrow(pa.ipc.new_stream),
    "JSON Lines, gzip": gzip.compress(json_lines(), mtime=0),
    "JSON Lines, zstd": pa.compress(json_lines(), codec="zstd", asbytes=True),
    "JSON Lines, UTF-8-SIG": b"\xef\xbb\xbf" + json_lines("\r\n"),
    "CSV, UTF-8-SIG": b"\xef\xbb\xbf" + delimited(","),
    "TSV, UTF-16": delimited("\t").decode().encode("utf-16"),
    "JSON Lines, UTF-16": b"\xfe\xff" + json_lines().decode().encode("utf-16-be"),
    "JSON Lines, UTF-16-LE": json_lines().decode().encode("utf-16-le"),
    "CSV, UTF-16-BE": delimited(",").decode().encode("utf-16-be"),
    "CSV, UTF-32": delimited(",").decode().encode("utf-32"),
    "CSV, UTF-32-BE": delimited(",").decode().encode("utf-32-be"),
    "Parquet, gzip": gzip.compress(parquet(), mtime=0),
    "Arrow, zstd": pa.compress(arrow(pa.ipc.new_file), codec="zstd", asbytes=True),
    "CSV, UTF-16, gzip": gzip.compress(delimited(",").decode().encode("utf-16"), mtime=0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str) -> None:
    assert opened(FORMATS[name]).format == name
    found = read(FORMATS[name])
    # CSV writes line ends in its own way.
    assert [(row.id, row.messages[0].content) for row in found.conversations] == EXPECTED
    assert [row.metadata for row in found.conversations] == [{"kind": "x"}, {"kind": "y"}]
    assert found.quarantined == []


def test_arrow_files_are_read_as_streams_are() -> None:
    assert read(arrow(pa.ipc.new_file)).conversations == read(FORMATS["Arrow"]).conversations


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (b'{"prompt": "a"}\n\n{"prompt": "\xff"}\n{"prompt": "c"}\n', 3),
        (b'[{"prompt": "a"},\n {"prompt": "\xff"},\n {"prompt": "c"}]', 2),
        (b"prompt\na\nb\xff\nc\n", 2),
        ('{"prompt": "a"}\n{"prompt": "\ud800"}\n{"prompt": "c"}\n'.encode("utf-16-le", "surrogatepass"), 2),
    ],
)
def test_bytes_that_are_no_text_spoil_their_own_row_alone(data: bytes, row: int) -> None:
    found = read(data)
    assert [conversation.messages[0].content for conversation in found.conversations] == ["a", "c"]
    assert [(aside.row, aside.reason) for aside in found.quarantined] == [(row, "not UTF-8 text")]


def test_rows_of_several_files_are_numbered_through() -> None:
    found = read({"1.csv": b"prompt\na\nb\n", "2.jsonl": b'{"prompt": "c"}\n{"prompt": ""}\n'})
    assert list(found.row_of.values()) == [1, 2, 3]
    assert [aside.row for aside in found.quarantined] == [4]


def test_a_row_of_too_many_cells_is_kept_aside() -> None:
    found = read(b"prompt,kind\na,x\nb,y,z\n")
    assert [aside.reason for aside in found.quarantined] == ["3 cells under 2 column names: is a quote missing?"]


ROWS_OF_TWO = [f"{number},Name bread {number}" for number in range(1, 40)]


@pytest.mark.parametrize(
    ("rows", "used", "lines"),
    [
        # line 1 holds the names, so row 3 is line 4
        ([*ROWS_OF_TWO[:2], '3,"Name', *ROWS_OF_TWO[3:]], 2, {4}),
        ([*ROWS_OF_TWO[:2], '3,"Name', *ROWS_OF_TWO[3:6], '7,"Name a bread"', *ROWS_OF_TWO[7:]], 34, {4}),
        ([*ROWS_OF_TWO[:2], '3,"Name', *ROWS_OF_TWO[3:30], 'a bread"', *ROWS_OF_TWO[31:]], 10, {4}),
        ([*ROWS_OF_TWO[:2], '"3\n3","Name', *ROWS_OF_TWO[3:]], 2, {5}),
        ([*ROWS_OF_TWO, '40,"Name'], 39, {41}),
        ([*ROWS_OF_TWO, '40,"Name, or\nlist, ""two""\nbreads"', '41,5" bread'], 41, set()),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_row_unsaid(rows: list[str], used: int, lines: set[int]) -> None:
    found = read("\n".join(["id,prompt", *rows, ""]).encode())
    assert len(found.conversations) == used
    assert {aside.reason for aside in found.quarantined} == {
        f"the quote that opens in line {line} is not closed" for line in lines
    }
    if lines:
        assert len(found.quarantined) == "\n".join(rows).count("\n") + 1 - used


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"prompt": "a"},\n{"prompt": ', "the JSON breaks off at row 2"),
        (b'[{"prompt": "a"}] {"prompt": "b"}', "something follows the JSON array after row 1"),
        (b'{\n"prompt": "a"}\n{\n"prompt": ', "the JSON breaks off at row 2"),
        (b'id,"prompt\n1,a\n2,b\n', "the quote that opens in line 1, among the column names, is not closed"),
        (b"prompt,kind,prompt\na,b,c\n", "the column 'prompt' stands there twice"),
        (gzip.compress(json_lines(), mtime=0)[:-20], "cannot be read"),
        (parquet()[:-30], "cannot be read"),
    ],
)
def test_a_file_that_breaks_off_or_contradicts_itself_is_said(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data)
