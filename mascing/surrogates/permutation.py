"""Labels without meaning: the control of every surrogate's card."""

import random
from collections.abc import Sequence


def permuted_labels(labels: Sequence[int], groups: Sequence[str], seed: int) -> list[int]:
    """The same labels dealt out anew: shuffled within each group, then group after group in random order.

    Groups whose conversations are all of one class mostly stay so; as many are positive as before.
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
