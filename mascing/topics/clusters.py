"""The topics of requests: groups of conversations whose last requests use the same words, templates left aside.

A group (a goal or question) has one topic, so that a split by topic never cuts one.
Shape suffixes: C conversation, G group, F word.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascing.conversations.request_words import request_words
from mascing.schemas.conversation import Conversation

MOST_TOPICS = 8
"""Pairs of eight topics are 28 splits, of which the 95% quantile leaves one above."""
_GROUPS_PER_TOPIC = 10
_DIMENSIONS = 50

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """The topic of each group by its id; ``missing`` says why there is none, and is empty otherwise."""

    topic_of: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""

    @property
    def count(self) -> int:
        """The number of topics."""
        return len(set(self.topic_of.values()))


def clusters(conversations: Iterable[Conversation]) -> Clusters:
    """Tell topics apart by the words of the last requests; deterministic.

    Latent semantic analysis, then k-means: a topic for every ten groups, at most eight. Conversations are read once.
    """
    groups: list[str] = []

    def last_requests() -> Iterator[str]:
        for conversation in conversations:
            groups.append(conversation.group_id)
            yield conversation.messages[-1].content

    words_CF = request_words(last_requests(), groups)
    names, group_C = np.unique(groups, return_inverse=True)
    n_topics = min(MOST_TOPICS, len(names) // _GROUPS_PER_TOPIC)
    if n_topics < 2:
        return Clusters(
            missing=f"{len(names)} groups are too few to tell topics apart: it takes {2 * _GROUPS_PER_TOPIC}"
        )
    topic_G = _k_means(_by_group(words_CF, group_C), n_topics)
    if len(set(topic_G.tolist())) < 2:
        return Clusters(missing="all last requests have the same words, templates left aside: they are of one topic")
    return Clusters(dict(zip(names.tolist(), topic_G.tolist(), strict=True)))


def _by_group(words_CF: Any, group_C: _Ints) -> Any:
    from scipy.sparse import csr_array
    from sklearn.preprocessing import normalize

    members_GC = csr_array((np.ones(len(group_C)), (group_C, np.arange(len(group_C)))))
    return normalize((members_GC @ words_CF).tocsr())


def _k_means(words_GF: Any, n_topics: int) -> _Ints:
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import normalize

    dimensions = min(_DIMENSIONS, words_GF.shape[1] - 1)
    few_words = dimensions <= n_topics
    svd = TruncatedSVD(dimensions, random_state=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # where all requests are equal, no variance is explained
        latent_GD = words_GF.toarray() if few_words else normalize(svd.fit_transform(words_GF))
    with warnings.catch_warnings():
        # Fewer different requests than topics: the caller counts the topics that were found.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Rounded, as equal requests may differ in their last bits.
        topic_G: _Ints = KMeans(n_topics, n_init=5, random_state=0).fit_predict(latent_GD.round(6))
    return topic_G
