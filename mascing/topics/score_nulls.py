"""A surrogate's score on splits by topic: a surrogate that reads topics tells them apart within a class.

Training a surrogate on every pair of topics would say only that topics can be read from routing, which they always can,
and would cost as many trainings. What is asked is whether *this* surrogate reads them.
Shape suffixes: C conversation.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mascing.schemas.cards.topic_null import ScoreNull, Topics
from mascing.topics.splits import QUANTILE, Contrast


def score_null(scores: ArrayLike, dev: Contrast, topics: Topics) -> ScoreNull:
    """Compare how scores [C] on dev tell the classes apart with how they tell any two topics apart within a class."""
    score_C = np.asarray(scores, float)
    areas = [abs(float(np.mean([_area(score_C, *side) for side in pair])) - 0.5) for pair in dev.topic_pairs()]
    return ScoreNull(
        topics=topics,
        splits=len(areas),
        area=_area(score_C, dev.label_C == 1, dev.label_C == 0),
        topic=0.5 + float(np.quantile(areas, QUANTILE)) if areas else None,
    )


def _area(score_C: NDArray[np.float64], first_C: NDArray[np.bool_], second_C: NDArray[np.bool_]) -> float:
    """The chance that a conversation of the first set scores higher than one of the second."""
    from sklearn.metrics import roc_auc_score

    either = first_C | second_C
    return float(roc_auc_score(first_C[either], score_C[either]))
