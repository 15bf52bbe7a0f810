"""Holm's adjustment against that of statsmodels."""

from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from mascing.statistics import holm


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1) | st.sampled_from((0.01, 0.02, 0.5)), min_size=1, max_size=12))
def test_it_is_that_of_statsmodels_to_the_bit(p_values: list[float]) -> None:
    adjusted = holm(dict(enumerate(p_values)))
    assert list(adjusted.values()) == multipletests(p_values, method="holm")[1].tolist()
    assert list(adjusted) == list(range(len(p_values)))


def test_nothing_to_compare_gives_nothing() -> None:
    assert holm({}) == {}
