from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.conversations.splits import SPLITS, split_of
from mascing.schemas.config import SplitConfig

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("group", "split"),
    [("goal-1", "train"), ("goal-2", "test"), ("goal-5", "dev"), ("", "test"), ("Ziel-ü", "train"), ("g7", "train")],
)
def test_a_group_stays_where_it_is(group: str, split: str) -> None:
    """A change here moves test conversations into the training split of everybody who upgrades."""
    assert split_of(group, SplitConfig()) == split


@PROPERTY
@given(st.text(), st.integers(1, 98), st.integers(1, 98))
def test_every_group_has_one_split(group: str, train: int, dev: int) -> None:
    if train + dev >= 100:
        train, dev = train / 2, dev / 2  # type: ignore[assignment]
    splits = SplitConfig(train=train / 100, dev=dev / 100, test=1 - train / 100 - dev / 100)
    assert split_of(group, splits) in SPLITS


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.3), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)])
def test_shares_hold_over_many_groups(shares: tuple[float, float, float]) -> None:
    splits = SplitConfig(train=shares[0], dev=shares[1], test=shares[2])
    counts = Counter(split_of(f"group {n}", splits) for n in range(4000))
    for name, share in zip(SPLITS, shares, strict=True):
        assert counts[name] / 4000 == pytest.approx(share, abs=0.03)


@PROPERTY
@given(st.text())
def test_a_larger_training_share_takes_no_group_out_of_training(group: str) -> None:
    if split_of(group, SplitConfig(train=0.4, dev=0.2, test=0.4)) == "train":
        assert split_of(group, SplitConfig(train=0.6, dev=0.2, test=0.2)) == "train"
