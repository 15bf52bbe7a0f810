"""Make the two classes alike before anything learns from them: pairs of a positive and a negative conversation.

Differences in form or topic would tell the classes apart without the behaviour. The conversations of a pair have the
same number of user turns, about the same length, and similar last requests. Requests of one group are similar by
definition; others are compared by their words. The earlier turns may differ, because they may cause the behaviour.
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
"""How many of the closest partners a conversation considers at once; the unpaired ones try again."""
_SAME_GROUP = 2.0
"""Similarity of requests of one group. Requests of different groups have at most 1."""


def matched_pairs(contrast: Sequence[Conversation], config: MatchingConfig) -> list[tuple[str, str]]:
    """Ids of the positive and the negative conversation of each pair; no conversation is in two pairs.

    Greedy, closest pairs first, and deterministic. Raises DataError if there is no pair at all.
    """
    requests = _words(contrast)
    strata: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for index, conversation in enumerate(contrast):
        stratum = strata[conversation.turns if "turns" in config.on else 0]
        stratum[conversation.label == "positive"].append(index)
    pairs = [
        (contrast[positive].id, contrast[negative].id)
        for _, (negatives, positives) in sorted(strata.items())
        for positive, negative in _pairs(contrast, requests, positives, negatives, config)
    ]
    if not pairs:
        raise DataError(_no_pair_message(contrast, config))
    return pairs


def _words(contrast: Sequence[Conversation]) -> Any:
    """The words of each last request as a sparse unit row [conversations, words]; rarer words weigh more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", binary=True)
    return vectorizer.fit_transform(conversation.messages[-1].content for conversation in contrast)


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
    """The closest allowed pairs as (distance, index of the positive, index of the negative)."""
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
        # Ties are broken from another start in each row: otherwise all rows would compete for the same few partners.
        rotated = np.argsort(-np.roll(close_PN[row], -row), kind="stable")[:_CANDIDATES]
        closest = (rotated + row) % len(negatives)
        yield from ((-close_PN[row, place], positive, negatives[place]) for place in closest if allowed_PN[row, place])


def _length(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation.messages)


def _no_pair_message(contrast: Sequence[Conversation], config: MatchingConfig) -> str:
    sides = "; ".join(
        _side_message([conversation for conversation in contrast if conversation.label == label], label)
        for label in ("positive", "negative")
    )
    return (
        f"no positive conversation has a negative one that is alike in {', '.join(config.on)} ({sides}): a "
        "method would learn their form, not the behaviour. Add conversations so that both classes have the same "
        "forms and topics, loosen `behaviour.matching`, or set it to null to leave the classes as they are"
    )


def _side_message(side: Sequence[Conversation], label: str) -> str:
    turns = [conversation.turns for conversation in side]
    lengths = sorted(_length(conversation) for conversation in side)
    return (
        f"{len(side)} {label} with {min(turns)} to {max(turns)} user turns and {lengths[0]} to {lengths[-1]} characters"
    )
