import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mascing.errors import DataError
from mascing.statistics.auc import auc, auc_difference


def names(members: np.ndarray) -> list[str]:
    return [f"g{member}" for member in members]


def test_the_area_is_that_of_the_ranks_with_ties_by_half() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, 200), rng.integers(0, 2, 200)
    area = auc(scores, labels, names(np.arange(200)))
    assert area.value == pytest.approx(roc_auc_score(labels, scores))
    assert area.low < area.value < area.high
    turned = auc(-scores, labels, names(np.arange(200)))
    assert (turned.value, turned.low, turned.high) == pytest.approx((1 - area.value, 1 - area.high, 1 - area.low))


def test_an_interval_keeps_its_width_where_the_classes_are_told_apart_without_a_fault() -> None:
    few, many = (auc(np.arange(n), np.arange(n) >= n // 2, names(np.arange(n))) for n in (20, 200))
    assert few.value == many.value == few.high == many.high == 1
    assert 0.5 < few.low < 0.95 < many.low < 1


@pytest.mark.parametrize("mixed", [True, False])
def test_intervals_cover_on_groups_of_one_label_or_both(mixed: bool) -> None:
    rng = np.random.default_rng(1)
    members = np.repeat(np.arange(40), 4)
    labels = np.tile([0, 1], 80) if mixed else members % 2
    covered = 0
    for _ in range(200):
        shared, own = rng.normal(size=40)[members] * 0.4**0.5, rng.normal(size=160) * 0.6**0.5
        area = auc(shared + own + 1.19 * labels, labels, names(members))  # 1.19: a true area of 0.8
        covered += area.low <= 0.8 <= area.high
    assert 0.91 < covered / 200 < 0.985


def test_groups_of_one_label_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    members = np.repeat(np.arange(20), 5)
    scores = rng.normal(size=20)[members] + members % 2
    related, taken_alone = (auc(scores, members % 2, groups) for groups in (names(members), names(np.arange(100))))
    assert related.value == taken_alone.value
    assert related.high - related.low > 1.5 * (taken_alone.high - taken_alone.low)


def test_a_difference_is_found_where_there_is_one_and_only_there() -> None:
    rng = np.random.default_rng(3)
    labels, groups = np.arange(200) % 2, names(np.arange(200) // 2)
    good, noise = labels + 0.5 * rng.normal(size=200), rng.normal(size=200)
    difference = auc_difference(good, noise, labels, groups)
    assert 0.25 < difference.low < difference.value < difference.high
    no_difference = auc_difference(good, good, labels, groups)
    assert -0.03 < no_difference.low <= no_difference.value == 0 <= no_difference.high < 0.03
    paired = auc_difference(good, good + 0.1 * rng.normal(size=200), labels, groups)
    assert paired.high - paired.low < auc(good, labels, groups).high - auc(good, labels, groups).low


def test_one_class_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="only one class"):
        auc([0.1, 0.2], [1, 1], ["a", "b"])
    with pytest.raises(DataError, match="do not fit together"):
        auc([0.1, 0.2], [1, 0], ["a"])
