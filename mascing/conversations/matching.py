"""Make the two classes alike before anything learns from them: pairs of a positive and a negative conversation.

What is not alike in form or topic tells the classes apart without the behaviour. A pair has equally many user turns, is
about equally long, and asks for something similar: conversations of one group do by definition, others by the words of
their last request. The earlier turns may differ, for what is said there may be what causes the behaviour.
Shape suffixes: P positive conversation, N negative conversation.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mascing.errors import DataError
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation

_BLOCK = 1000
_CANDIDATES = 32
"""The closest partners that are considered at once for a conversation; whoever stays alone is tried again."""
_SAME_GROUP = 2.0
"""Closer than any two requests of different groups, which are at most 1."""


def matched_pairs(contrast: Sequence[Conversation], config: MatchingConfig) -> list[tuple[str, str]]:
    """Ids of the positive and the negative conversation of each pair, no conversation in two of them.

    Greedy, the closest first; equal input gives equal pairs. Raises DataError if there is no pair at all.
    """
    requests = _words(contrast)
    strata: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for index, one in enumerate(contrast):
        strata[one.turns if "turns" in config.on else 0][one.label == "positive"].append(index)
    found = [
        (contrast[positive].id, contrast[negative].id)
        for _, (negatives, positives) in sorted(strata.items())
        for positive, negative in _pairs(contrast, requests, positives, negatives, config)
    ]
    if not found:
        raise DataError(_nothing_alike(contrast, config))
    return found


def _words(contrast: Sequence[Conversation]) -> Any:
    """The words of each last request as a sparse unit row, rarer ones weighing more: [conversations, words]."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", binary=True)
    return vectorizer.fit_transform(one.messages[-1].content for one in contrast)


def _pairs(
    contrast: Sequence[Conversation], requests: Any, positives: list[int], negatives: list[int], config: MatchingConfig
) -> Iterator[tuple[int, int]]:
    while positives and negatives:
        candidates = sorted(
            candidate
            for start in range(0, len(positives), _BLOCK)
            for candidate in _candidates(contrast, requests, positives[start : start + _BLOCK], negatives, config)
        )
        taken: set[int] = set()
        for _, positive, negative in candidates:
            if positive not in taken and negative not in taken:
                taken |= {positive, negative}
                yield positive, negative
        if not taken:
            return
        positives = [index for index in positives if index not in taken]
        negatives = [index for index in negatives if index not in taken]


def _candidates(
    contrast: Sequence[Conversation], requests: Any, positives: list[int], negatives: list[int], config: MatchingConfig
) -> Iterator[tuple[float, int, int]]:
    """Distance, positive and negative of the closest allowed pairs."""
    length_P, length_N = (np.log([_length(contrast[index]) for index in rows]) for rows in (positives, negatives))
    apart_PN = np.abs(length_P[:, None] - length_N)
    group_P, group_N = (np.array([contrast[index].group_id for index in rows]) for rows in (positives, negatives))
    related_PN = group_P[:, None] == group_N
    alike_PN = (requests[positives] @ requests[negatives].T).toarray() if "topic" in config.on else 1 - apart_PN
    allowed_PN = np.ones_like(related_PN)
    if "length" in config.on:
        allowed_PN &= apart_PN <= np.log(config.length_ratio) + 1e-9
    if "topic" in config.on:
        allowed_PN &= related_PN | (alike_PN >= config.topic_similarity)
    close_PN = np.where(related_PN, _SAME_GROUP - apart_PN, alike_PN)
    close_PN[~allowed_PN] = -np.inf
    for row, positive in enumerate(positives):
        # Of equally close ones, each looks first at another: all at once would otherwise want the same few.
        turned = np.argsort(-np.roll(close_PN[row], -row), kind="stable")[:_CANDIDATES]
        best = (turned + row) % len(negatives)
        yield from ((-close_PN[row, place], positive, negatives[place]) for place in best if allowed_PN[row, place])


def _length(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation.messages)


def _nothing_alike(contrast: Sequence[Conversation], config: MatchingConfig) -> str:
    sides = "; ".join(
        _looks([one for one in contrast if one.label == label], label) for label in ("positive", "negative")
    )
    return (
        f"no positive conversation has a negative one that is alike in {', '.join(config.on)} ({sides}): what "
        "is learned from them would be their form. Add conversations so that both classes have the same forms and "
        "topics, loosen `behaviour.matching`, or set it to null to leave the classes as they are"
    )


def _looks(side: Sequence[Conversation], label: str) -> str:
    turns, lengths = [one.turns for one in side], sorted(_length(one) for one in side)
    return (
        f"{len(side)} {label} with {min(turns)} to {max(turns)} user turns and {lengths[0]} to {lengths[-1]} characters"
    )
