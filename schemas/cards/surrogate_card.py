"""The card of a surrogate ensemble: how well it separates the classes, beside other predictors."""

from mascing.schemas.base import Frozen
from mascing.schemas.cards.topic_null import ScoreNull
from mascing.schemas.result import Rate


class Roc(Frozen):
    """At most 100 points of the ROC curve, as fractions of 1."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class ReliabilityPoint(Frozen):
    """Conversations of similar predicted probability: the mean prediction, and the share that is positive."""

    predicted: float
    observed: Rate


class Calibration(Frozen):
    """How well predicted probabilities match observed frequencies.

    A probability is ``sigmoid(score / temperature)``. ``error`` is the expected calibration error with the temperature,
    ``error_before`` without it. Both errors and the ``points`` use conversations that their temperature was not fitted
    on.
    """

    temperature: float
    error: float
    error_before: float
    points: tuple[ReliabilityPoint, ...]


class TrivialPredictor(Frozen):
    """A predictor without routing: its area under the ROC curve, and the surrogate's area minus it (``lead``)."""

    auc: Rate
    lead: Rate


class SurrogateCard(Frozen):
    """An ensemble on the contrast of the dev split, beside trivial predictors and a control.

    ``members`` holds the area of each member alone. ``control`` is the area of a surrogate whose training and dev
    labels were permuted. ``explained_by`` names the predictors that do as well as the ensemble: `turns`, `length` and
    `tokens`, which describe the form of the conversations, and `words`. ``topic`` says how far the ensemble tells
    topics apart, None if nobody asked.
    """

    accuracy: float
    auc: Rate
    members: tuple[float, ...]
    roc: Roc
    calibration: Calibration
    trivial: dict[str, TrivialPredictor]
    control: Rate
    explained_by: tuple[str, ...]
    topic: ScoreNull | None = None
