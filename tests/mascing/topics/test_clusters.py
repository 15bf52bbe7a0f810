"""Topics are told apart by words, groups are never cut, and where there are none, the reason is said."""

import numpy as np

from mascing.schemas.conversation import Conversation, Message
from mascing.topics.clusters import clusters
from mascing.topics.splits import Contrast
from tests.bench.topics.templates import TEMPLATES, conversations


def asked(request: str, group: str) -> Conversation:
    return Conversation(id=group, group_id=group, messages=(Message(role="user", content=request),))


def test_topics_are_found_through_long_templates_and_are_the_same_each_time() -> None:
    rows, topics = conversations("long instruction", 300, 0, disjoint=False)
    found = clusters(rows)
    assert found.count == 8
    assert found == clusters(rows)
    shared = np.zeros((8, 10))
    for row in rows:
        shared[found.topic_of[row.group_id], topics[row.id]] += 1
    assert shared.max(axis=1).sum() > 0.7 * len(rows)  # eight clusters of ten topics get 80% at best


def test_few_groups_and_equal_requests_have_no_topics() -> None:
    few = clusters(asked(f"about thing {number}", str(number)) for number in range(19))
    assert few.missing == "19 groups are too few to tell topics apart: it takes 20"
    assert few.count == 0
    for request in ("paint the small boat", TEMPLATES["long instruction"][0]):
        equal = clusters(asked(request, str(number)) for number in range(40))
        assert "have the same words" in equal.missing


def test_topics_are_compared_within_a_class_that_has_enough_of_both() -> None:
    label_C = np.array([1] * 12 + [0] * 12)
    topic_C = np.array([0] * 6 + [1] * 6 + [0] * 8 + [1] * 4)
    contrast = Contrast(label_C, topic_C, [str(number) for number in range(24)])
    [[(first, second)]] = contrast.topic_pairs()
    assert first.nonzero()[0].tolist() == list(range(6))
    assert second.nonzero()[0].tolist() == list(range(6, 12))
    assert contrast.overlap(label_C) == 6 / 12 + 4 / 12
