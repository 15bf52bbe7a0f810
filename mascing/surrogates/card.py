"""The card of a surrogate ensemble: how well it does, beside predictors that know nothing of routing."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mascing.schemas.result import Rate
from mascing.schemas.surrogate_card import Roc, SurrogateCard, TrivialPredictor
from mascing.statistics.auc import auc, auc_difference
from mascing.surrogates.calibration import calibration

Floats = NDArray[np.float64]

ROC_POINTS = 100


def surrogate_card(
    members: Sequence[ArrayLike],
    trivial: Mapping[str, ArrayLike],
    control: Rate,
    labels: ArrayLike,
    groups: Sequence[str],
) -> SurrogateCard:
    """The card of the ensemble whose members' scores (logits [N]) are given, on conversations they did not see.

    ``trivial`` are the scores of the trivial predictors on the same conversations. Raises DataError unless both
    classes are there.
    """
    scores = np.mean([np.asarray(one, float) for one in members], axis=0)
    area = auc(scores, labels, groups)
    predictors = {
        name: TrivialPredictor(auc=auc(one, labels, groups), lead=auc_difference(scores, one, labels, groups))
        for name, one in trivial.items()
    }
    return SurrogateCard(
        accuracy=float(((scores > 0) == (np.asarray(labels) > 0)).mean()),
        auc=area,
        members=tuple(auc(one, labels, groups).value for one in members),
        roc=_roc(scores, labels),
        calibration=calibration(scores, labels, groups),
        trivial=predictors,
        control=control,
        explained_by=tuple(name for name, predictor in predictors.items() if explains(predictor)),
    )


def explains(predictor: TrivialPredictor) -> bool:
    """Whether a predictor does as well as the surrogate, within noise.

    It is better than chance beyond doubt, and the surrogate is not better than it beyond doubt: 95% intervals of its
    own area and of the difference on the same conversations.
    """
    return predictor.auc.low > 0.5 and predictor.lead.low <= 0


def _roc(scores: Floats, labels: ArrayLike) -> Roc:
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(np.asarray(labels), scores)
    kept = np.linspace(0, len(fpr) - 1, min(len(fpr), ROC_POINTS)).round().astype(int)
    return Roc(fpr=tuple(fpr[kept].tolist()), tpr=tuple(tpr[kept].tolist()))
