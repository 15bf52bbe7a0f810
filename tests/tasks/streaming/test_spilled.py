"""Tables that wait in a file."""

import pyarrow as pa
import pytest

from mascing.tasks.streaming import spilled
from mascing.tasks.streaming.spilled import Spilled


@pytest.mark.parametrize("in_memory", [1, 2**20])
def test_tables_are_read_in_any_order_while_others_come(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "_IN_MEMORY", in_memory)
    kept = Spilled()
    tables = {name: pa.table({"text": [name * 100, None]}) for name in "abc"}
    for name, table in tables.items():
        kept.put(name, table)
        assert kept.get("a").equals(tables["a"])
    assert all(kept.get(name).equals(tables[name]) for name in "cab")
