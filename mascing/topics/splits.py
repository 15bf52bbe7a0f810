"""Splits of a contrast that are not the behaviour: by topic within each class, and at random by group.

Shape suffixes: C conversation, S split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mascing.surrogates.permutation import permuted_labels

QUANTILE = 0.95
_LEAST_OF_A_TOPIC = 5
_RANDOM_SPLITS = 50

_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Contrast:
    """The conversations of a contrast, in the order of their traces.

    ``label_C`` is 1 for positive and 0 for negative. ``topic_C`` is -1 everywhere if no topics were told apart.
    """

    label_C: _Ints
    topic_C: _Ints
    groups: Sequence[str]

    def topic_pairs(self) -> list[list[tuple[_Bools, _Bools]]]:
        """Every two topics: for each class in which both have five conversations or more, those of either, bool [C].

        Within a class there is no difference of behaviour, so a difference of the two is one of topic.
        """
        cells = {(topic, label): self._cell(topic, label) for topic in self._topics() for label in (0, 1)}
        enough = {cell for cell, of_C in cells.items() if of_C.sum() >= _LEAST_OF_A_TOPIC}
        pairs = [
            [(cells[a, label], cells[b, label]) for label in (0, 1) if {(a, label), (b, label)} <= enough]
            for a, b in combinations(self._topics(), 2)
        ]
        return [sides for sides in pairs if sides]

    def random_labels(self) -> _Ints:
        """Labels permuted by group [S, C]: splits of the size of the classes that follow neither class nor topic."""
        labels = self.label_C.tolist()
        return np.array([permuted_labels(labels, self.groups, seed) for seed in range(_RANDOM_SPLITS)])

    def overlap(self, label_C: _Ints) -> float:
        """The share of their topics that two classes have alike: 1 if equally often, 0 if no topic is in both."""
        shares = [
            np.array([(self.topic_C[label_C == label] == topic).mean() for topic in self._topics()]) for label in (0, 1)
        ]
        return float(np.minimum(*shares).sum())

    def _topics(self) -> list[int]:
        return sorted(set(self.topic_C.tolist()) - {-1})

    def _cell(self, topic: int, label: int) -> _Bools:
        cell: _Bools = (self.topic_C == topic) & (self.label_C == label)
        return cell
