import pytest

from mascing.surrogates.permutation import permuted_labels


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_dealt_out_anew_and_none_is_lost(seed: int) -> None:
    labels, groups = [0, 1] * 50, [f"g{number // 4}" for number in range(100)]
    permuted = permuted_labels(labels, groups, seed)
    assert sorted(permuted) == sorted(labels)
    assert permuted == permuted_labels(labels, groups, seed)
    assert 20 < sum(a == b for a, b in zip(labels, permuted, strict=True)) < 80


def test_groups_of_one_class_stay_so() -> None:
    groups = [f"g{number // 4}" for number in range(80)]
    permuted = permuted_labels([number // 40 for number in range(80)], groups, seed=0)
    assert permuted != [number // 40 for number in range(80)]
    assert all(len(set(permuted[start : start + 4])) == 1 for start in range(0, 80, 4))
