"""Permuted labels: the control of every surrogate's card."""

import random
from collections.abc import Sequence


def permuted_labels(labels: Sequence[int], groups: Sequence[str], seed: int) -> list[int]:
    """Permute the labels: shuffle them within each group, then deal them out group by group in random order.

    Most groups with a single class keep a single class; the number of positives stays the same.
    """
    rng = random.Random(f"permuted-labels-{seed}")
    by_group: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        by_group.setdefault(group, []).append(index)
    drawn = list(by_group.values())
    rng.shuffle(drawn)
    dealt = [labels[index] for members in drawn for index in rng.sample(members, len(members))]
    permuted = list(labels)
    for index, label in zip((index for members in by_group.values() for index in members), dealt, strict=True):
        permuted[index] = label
    return permuted
