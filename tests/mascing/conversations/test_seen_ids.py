"""The ids that are seen keep their rows as the table grows, and growing takes no more than the table."""

import tracemalloc

from mascing.conversations.seen_ids import SeenIds

ROWS = 25_000


def test_ids_keep_their_rows_in_48_bytes_an_id_at_most_and_as_much_while_they_move() -> None:
    seen = SeenIds()
    tracemalloc.start()
    try:
        for row in range(ROWS):
            assert f"c{row}" not in seen
            seen[f"c{row}"] = row
        assert tracemalloc.get_traced_memory()[1] < 2 * 48 * ROWS
    finally:
        tracemalloc.stop()
    assert len(seen) == ROWS
    assert all(seen[f"c{row}"] == row for row in range(ROWS))
