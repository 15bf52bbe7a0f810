"""A changed row changes its own piece."""

from pathlib import Path

import pytest

from mascing.storage.object_storage import Storage
from mascing.tasks.running.pieces import pieces_of, stored

ROWS = [f"row-{number}" for number in range(1000)]


def pieces(rows: list[str]) -> list[list[str]]:
    return list(pieces_of(rows, 32, lambda row: row))


def test_pieces_hold_all_rows_in_order_at_about_the_wanted_size() -> None:
    assert [row for piece in pieces(ROWS) for row in piece] == ROWS
    assert 1000 / 64 < len(pieces(ROWS)) < 1000 / 16
    assert max(map(len, pieces(ROWS))) <= 4 * 32
    assert pieces([]) == []


def test_pieces_are_as_uneven_as_the_manual_says() -> None:
    """Their sizes in multiples of the wanted one: `mascing harvest --help`, docs/traces.md and docs/scale.md."""
    sizes = sorted(len(piece) / 32 for piece in pieces([f"row-{number}" for number in range(100_000)]))
    tenth, half, nine_tenths = (sizes[int(share * len(sizes))] for share in (0.1, 0.5, 0.9))
    assert (tenth, half, nine_tenths) == pytest.approx((27 / 256, 176 / 256, 580 / 256), rel=0.2)
    assert sum(sizes) / len(sizes) == pytest.approx(250 / 256, rel=0.05)
    assert sizes[-1] == 4


@pytest.mark.parametrize("place", [0, 313, 500, 999])
def test_a_row_added_or_removed_changes_at_most_two_pieces(place: int) -> None:
    before = {tuple(piece) for piece in pieces(ROWS)}
    for rows in (ROWS[:place] + ROWS[place + 1 :], [*ROWS[:place], "another", *ROWS[place:]]):
        assert len({tuple(piece) for piece in pieces(rows)} - before) <= 2


def test_a_stored_piece_is_made_once_and_the_first_bytes_hold(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    assert stored(storage, "pieces/a", lambda: b"first") == b"first"
    assert stored(storage, "pieces/a", lambda: pytest.fail("made twice")) == b"first"

    def overtaken() -> bytes:
        storage.create("pieces/b", b"theirs")
        return b"ours"

    assert stored(storage, "pieces/b", overtaken) == b"theirs"


def test_what_must_not_be_kept_is_not_stored(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    assert stored(storage, "pieces/c", lambda: None) is None
    assert stored(storage, "pieces/c", lambda: b"later") == b"later"
