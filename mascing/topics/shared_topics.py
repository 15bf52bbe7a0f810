"""The contrasts of train and dev with the topics of their conversations, which are told apart over both together."""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from mascing.schemas.cards.topic_null import Topics
from mascing.schemas.conversation import Conversation
from mascing.topics.clusters import Clusters, clusters
from mascing.topics.splits import Contrast

_CHANCE = 0.05


class Contrasts(NamedTuple):
    """The contrasts of both splits, and how far the classes of train have the same topics."""

    train: Contrast
    dev: Contrast
    topics: Topics


def contrasts(train: Iterable[Conversation], dev: Iterable[Conversation]) -> Contrasts:
    """Tell topics apart and say how the classes share them; each iterable is read twice."""
    found = clusters(chain(train, dev))
    of_train, of_dev = (_contrast(rows, found) for rows in (train, dev))
    return Contrasts(of_train, of_dev, _topics(found, of_train))


def _contrast(conversations: Iterable[Conversation], found: Clusters) -> Contrast:
    rows = [(row.group_id, row.label == "positive") for row in conversations]
    groups = [group for group, _ in rows]
    return Contrast(
        label_C=np.array([label for _, label in rows], dtype=int),
        topic_C=np.array([found.topic_of.get(group, -1) for group in groups], dtype=int),
        groups=groups,
    )


def _topics(found: Clusters, train: Contrast) -> Topics:
    if found.missing:
        return Topics(missing=found.missing)
    permuted = [train.overlap(labels) for labels in train.random_labels()]
    missing = "" if train.topic_pairs() else "no class has five conversations of each of two topics"
    return Topics(
        count=found.count,
        overlap=train.overlap(train.label_C),
        by_chance=float(np.quantile(permuted, _CHANCE)),
        missing=missing,
    )
