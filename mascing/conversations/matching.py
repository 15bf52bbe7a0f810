"""Make the two classes alike before anything learns from them: pairs of a positive and a negative conversation.

Differences in form or topic would tell the classes apart without the behaviour. The conversations of a pair have the
same number of user turns, about the same length, and similar last requests. Requests of one group are similar by
definition; others are compared by their words, of which those of a shared template count for next to nothing. The
earlier turns may differ, because they may cause the behaviour.

Comparing all positive with all negative conversations would take time and memory that grow with the square of their
number. An inverted index gives each conversation those that share a group or a word with it, and a list of the index
that is too long is cut into blocks of about the same length (blocking: Hernandez and Stolfo, SIGMOD 1995; Bayardo, Ma
and Srikant, WWW 2007).
Shape suffixes: C conversation, F feature, P positive conversation, N negative conversation, M pair.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mascing.conversations.request_words import request_words
from mascing.errors import DataError
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Label

_BLOCK = 64
"""How many conversations with one word or group are compared with each other."""
_ROWS = 1000
"""Positive conversations that are compared at once, which bounds the memory."""
_CANDIDATES = 32
"""How many of the closest partners a conversation considers at once; the unpaired ones try again."""
_SAME_GROUP = 2.0
"""Similarity of requests of one group. Requests of different groups have at most 1."""

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


class NoPairError(DataError):
    """Both classes have conversations, and none of one is like one of the other."""


def matched_pairs(contrast: Iterable[Conversation], config: MatchingConfig) -> list[tuple[str, str]]:
    """Ids of the positive and the negative conversation of each pair; no conversation is in two pairs.

    The conversations are read once and not held. Greedy, closest pairs first, and deterministic. There is no pair
    without conversations of both classes. Raises NoPairError if there is none with them.
    """
    contrast = iter(contrast)
    if (first := next(contrast, None)) is None:
        return []
    rows, words_CF = _read(chain([first], contrast))
    forms = _Forms.of(rows, words_CF)
    strata: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for index, row in enumerate(rows):
        stratum = strata[row.turns if "turns" in config.on else 0]
        stratum[row.label == "positive"].append(index)
    pairs = [
        (rows[positive].id, rows[negative].id)
        for _, (negatives, positives) in sorted(strata.items())
        for positive, negative in _pairs(forms, np.array(positives, int), np.array(negatives, int), config)
    ]
    if not pairs and len({row.label for row in rows}) > 1:
        raise NoPairError(_no_pair_message(rows, config))
    return pairs


class _Row(NamedTuple):
    """What is held of a conversation besides its words; ``length`` is in characters."""

    id: str
    label: Label | None
    group_id: str
    turns: int
    length: int


def _read(contrast: Iterable[Conversation]) -> tuple[list[_Row], Any]:
    """The rows, and the words of their last requests as sparse unit rows [C, F]."""
    rows: list[_Row] = []
    groups: list[str] = []

    def last_requests() -> Iterator[str]:
        for row in contrast:
            length = sum(len(message.content) for message in row.messages)
            rows.append(_Row(row.id, row.label, row.group_id, row.turns, length))
            groups.append(row.group_id)
            yield row.messages[-1].content

    words_CF = request_words(last_requests(), groups)
    return rows, words_CF


@dataclass(frozen=True)
class _Forms:
    """What is compared of the conversations.

    ``words_CF`` are the words of the last requests. ``length_C`` is the logarithm of all characters, and ``group_C``
    numbers the groups. ``drawn_C`` is a fixed random order: it mixes the classes where all else is equal, so that not
    all look at the same few partners.
    """

    words_CF: Any
    length_C: _Floats
    group_C: _Ints
    drawn_C: _Ints

    @classmethod
    def of(cls, rows: Sequence[_Row], words_CF: Any) -> "_Forms":
        return cls(
            words_CF,
            np.log([row.length for row in rows]),
            np.unique([row.group_id for row in rows], return_inverse=True)[1],
            np.random.default_rng(0).permutation(len(rows)),
        )

    def cosines(self, first: _Ints, second: _Ints) -> _Floats:
        """The similarity of the words of pairs."""
        return np.asarray(self.words_CF[first].multiply(self.words_CF[second]).sum(axis=1)).ravel()


def _pairs(forms: _Forms, positives: _Ints, negatives: _Ints, config: MatchingConfig) -> Iterator[tuple[int, int]]:
    while len(positives) and len(negatives):
        taken: set[int] = set()
        for positive, negative in _closest_first(forms, positives, negatives, config):
            if positive not in taken and negative not in taken:
                taken |= {positive, negative}
                yield positive, negative
        if not taken:
            return
        positives, negatives = (side[~np.isin(side, list(taken))] for side in (positives, negatives))


def _closest_first(
    forms: _Forms, positives: _Ints, negatives: _Ints, config: MatchingConfig
) -> Iterator[tuple[int, int]]:
    """The candidate pairs of all positive conversations."""
    index_CF = _index(forms, np.concatenate([positives, negatives]), config)
    index_PF, index_FN = index_CF[: len(positives)], index_CF[len(positives) :].T.tocsr()
    found = [
        _candidates(
            forms, positives[start : start + _ROWS], negatives, index_PF[start : start + _ROWS] @ index_FN, config
        )
        for start in range(0, len(positives), _ROWS)
    ]
    close_M = np.concatenate([close for close, _ in found])
    pair_2M = np.concatenate([pair for _, pair in found], axis=1)
    yield from zip(*pair_2M[:, np.argsort(-close_M, kind="stable")].tolist(), strict=True)


def _index(forms: _Forms, rows: _Ints, config: MatchingConfig) -> Any:
    """The words and groups of the rows [C, F], where each block of conversations has a feature of its own."""
    from scipy.sparse import csr_array, hstack

    groups_CF = csr_array((np.ones(len(rows)), (np.arange(len(rows)), forms.group_C[rows])))
    words_CF = forms.words_CF[rows] if "topic" in config.on else csr_array(np.ones((len(rows), 1)))
    entries = hstack([words_CF, groups_CF]).tocoo()
    order = np.lexsort((forms.drawn_C[rows][entries.row], forms.length_C[rows][entries.row], entries.col))
    feature = entries.col[order]
    place = np.arange(len(feature)) - np.searchsorted(feature, feature)
    block = np.cumsum(place % _BLOCK == 0) - 1
    return csr_array((entries.data[order], (entries.row[order], block)))


def _candidates(
    forms: _Forms, positives: _Ints, negatives: _Ints, shared_PN: Any, config: MatchingConfig
) -> tuple[_Floats, _Ints]:
    """The closest allowed pairs [2, M] and how close they are [M].

    ``shared_PN`` holds their similarity by the features that they share, which leaves out words of other blocks.
    """
    shared_PN = shared_PN.tocoo()
    row, column = (side[shared_PN.data >= config.topic_similarity / 2] for side in shared_PN.coords)
    apart = np.abs(forms.length_C[positives[row]] - forms.length_C[negatives[column]])
    if "length" in config.on:
        near = apart <= np.log(config.length_ratio) + 1e-9
        row, column, apart = row[near], column[near], apart[near]
    first, second = positives[row], negatives[column]
    related = forms.group_C[first] == forms.group_C[second]
    by_topic = "topic" in config.on
    alike = forms.cosines(first, second) if by_topic else 1 - apart
    close = np.where(related, _SAME_GROUP - apart, alike)
    close[~related & by_topic & (alike < config.topic_similarity)] = -np.inf
    # Where all is equal, each positive conversation prefers other partners: they would all compete for the same few.
    preferred = (forms.drawn_C[first] + forms.drawn_C[second]) % len(forms.drawn_C)
    order = np.lexsort((preferred, -close, row))
    row = row[order]
    order = order[np.arange(len(row)) - np.searchsorted(row, row) < _CANDIDATES]
    order = order[close[order] > -np.inf]
    return close[order], np.stack([first[order], second[order]])


def _no_pair_message(rows: Sequence[_Row], config: MatchingConfig) -> str:
    sides = "; ".join(
        _side_message([row for row in rows if row.label == label], label) for label in ("positive", "negative")
    )
    worded_alike = (
        ". Words that many requests share, as those of a template, are no topic: if all are worded alike, leave "
        "`topic` out of `behaviour.matching.on`"
    )
    return (
        f"no positive conversation has a negative one that is alike in {', '.join(config.on)} ({sides}): a "
        "method would learn their form, not the behaviour. Add conversations so that both classes have the same "
        "forms and topics, loosen `behaviour.matching`, or set it to null to leave the classes as they are"
        f"{worded_alike if 'topic' in config.on else ''}"
    )


def _side_message(side: Sequence[_Row], label: str) -> str:
    turns = [row.turns for row in side]
    lengths = sorted(row.length for row in side)
    return (
        f"{len(side)} {label} with {min(turns)} to {max(turns)} user turns and {lengths[0]} to {lengths[-1]} characters"
    )
