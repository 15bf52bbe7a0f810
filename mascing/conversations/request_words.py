"""The words of requests, weighed by how much they say about a topic: those of a shared template say next to nothing.

Words are weighed by how few groups use them, not conversations: paraphrases of one question are no evidence that a word
is common. The words of a template come together, whatever the topic. By inverse document frequency alone, a template of
thirty words in a tenth of the conversations outweighs the five words of its slot. Here words that come together count
as one word, as sequences of one family do in sequence weighting (Henikoff and Henikoff, J. Mol. Biol. 1994).
Shape suffixes: C conversation, G group, F word, W word of many groups.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARED = 0.01
"""The share of the groups that use a word from which it may be one of a template; at least _FEWEST of them."""
_FEWEST = 5
_TOGETHER = 0.5
"""Words come together if the groups that use both are this share of those that use either (Jaccard)."""
_LEAST = 0.1
"""The weight of a word that all use. It is not 0, so that requests with no other words are alike."""

_Floats = NDArray[np.float64]


def request_words(requests: Iterable[str], groups: Sequence[str]) -> Any:
    """The words of the requests as sparse unit rows [C, F]; a row without any word is 0.

    ``groups`` are read after ``requests``, so that both may come of one pass.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counted_CF = CountVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", binary=True).fit_transform(requests)
    return normalize(counted_CF.astype(float).multiply(_weights(_by_group(counted_CF, groups))).tocsr())


def _by_group(used_CF: Any, groups: Sequence[str]) -> Any:
    """Whether any conversation of a group uses a word: sparse [G, F] of 0 and 1."""
    from scipy.sparse import csr_array

    group_C = np.unique(groups, return_inverse=True)[1]
    members_GC = csr_array((np.ones(len(group_C)), (group_C, np.arange(len(group_C)))))
    used_GF = (members_GC @ used_CF).tocsr()
    used_GF.data[:] = 1
    return used_GF


def _weights(used_GF: Any) -> _Floats:
    """What each word says about a topic [F]."""
    n_groups = used_GF.shape[0]
    used_F = np.asarray(used_GF.sum(axis=0)).ravel()
    weight_F: _Floats = np.log((1 + n_groups) / (1 + used_F)) + _LEAST
    shared_W = np.flatnonzero(used_F >= max(_FEWEST, _SHARED * n_groups))
    weight_F[shared_W] /= np.sqrt(_companions(used_GF[:, shared_W]))
    return weight_F


def _companions(used_GW: Any) -> _Floats:
    """How many words come together with each word, itself among them [W]."""
    both_WW = (used_GW.T @ used_GW).toarray()
    used_W = both_WW.diagonal()
    jaccard_WW = both_WW / (used_W[:, None] + used_W - both_WW)
    return np.asarray(np.where(jaccard_WW >= _TOGETHER, jaccard_WW, 0).sum(axis=1))
