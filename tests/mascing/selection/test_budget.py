"""The budget leaves something to prune the picks with, whatever the race takes."""

from mascing.selection.budget import Budget


def test_the_race_takes_less_than_the_whole_and_the_full_grid_has_no_bound() -> None:
    racing, full = Budget(1000, racing=True), Budget(1000, racing=False)
    assert (racing.race, racing.total) == (175, 250)
    assert (full.race, full.total) == (None, 1075)
