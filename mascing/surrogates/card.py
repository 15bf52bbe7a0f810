"""The card of a surrogate ensemble: its performance, compared with predictors that do not see routing."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mascing.schemas.cards.surrogate_card import Roc, SurrogateCard, TrivialPredictor
from mascing.schemas.result import Rate
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
    """The card of an ensemble, from its members' scores (logits [N]) on conversations that they were not trained on.

    ``trivial`` holds the scores of the trivial predictors on the same conversations. Raises DataError unless both
    classes are present.
    """
    scores = np.mean([np.asarray(member, float) for member in members], axis=0)
    area = auc(scores, labels, groups)
    predictors = {
        name: TrivialPredictor(auc=auc(values, labels, groups), lead=auc_difference(scores, values, labels, groups))
        for name, values in trivial.items()
    }
    return SurrogateCard(
        accuracy=float(((scores > 0) == (np.asarray(labels) > 0)).mean()),
        auc=area,
        members=tuple(auc(member, labels, groups).value for member in members),
        roc=_roc(scores, labels),
        calibration=calibration(scores, labels, groups),
        trivial=predictors,
        control=control,
        explained_by=tuple(name for name, predictor in predictors.items() if explains(predictor)),
    )


def explains(predictor: TrivialPredictor) -> bool:
    """Whether a predictor does as well as the surrogate, within noise.

    The 95% interval of its AUC lies above chance, and the interval of the surrogate's lead over it, on the same
    conversations, does not lie above 0.
    """
    return predictor.auc.low > 0.5 and predictor.lead.low <= 0


def _roc(scores: Floats, labels: ArrayLike) -> Roc:
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(np.asarray(labels), scores)
    chosen = np.linspace(0, len(fpr) - 1, min(len(fpr), ROC_POINTS)).round().astype(int)
    return Roc(fpr=tuple(fpr[chosen].tolist()), tpr=tuple(tpr[chosen].tolist()))
