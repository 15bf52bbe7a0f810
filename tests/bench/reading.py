"""Memory and time of reading a million short rows: `python -m tests.bench.reading [--rows N]`."""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mascing.conversations.intake.reader import open_conversations
from mascing.conversations.intake.survey import survey
from mascing.schemas.config import SplitConfig
from mascing.storage.source import files_of_rows
from tests.bench.peak_memory import megabytes_above, start_anew

_CHUNK = 10_000


def main() -> None:
    """Print a line per format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    n_rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        for path in (_json_lines(Path(folder), n_rows), _parquet(Path(folder), n_rows)):
            before, started = start_anew(), time.perf_counter()
            found = survey(open_conversations(files_of_rows(str(path)), None, 100_000), SplitConfig())
            seconds, peak = time.perf_counter() - started, megabytes_above(before)
            size = path.stat().st_size // 2**20
            print(f"{path.name}: {found.used} rows, {size} MB on disk, {seconds:.0f} s, peak {peak} MB above the start")


def _row(number: int) -> dict[str, object]:
    turns = [{"role": "user", "content": f"Name the bread of town number {number}"}]
    return {"id": f"row-{number}", "group_id": f"group-{number // 4}", "messages": turns}


def _json_lines(folder: Path, n_rows: int) -> Path:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(_row(number))}\n" for number in range(n_rows))
    return path


def _parquet(folder: Path, n_rows: int) -> Path:
    path = folder / "rows.parquet"
    schema = pa.Table.from_pylist([_row(0)]).schema
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n_rows, _CHUNK):
            rows = [_row(number) for number in range(start, min(n_rows, start + _CHUNK))]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


if __name__ == "__main__":
    main()
