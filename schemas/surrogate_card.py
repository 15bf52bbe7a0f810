"""The card of a surrogate ensemble: how well it tells the classes apart, and what else does."""

from mascing.schemas.base import Frozen
from mascing.schemas.result import Rate


class Roc(Frozen):
    """At most 100 points of the ROC curve, as fractions of 1."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class ReliabilityPoint(Frozen):
    """Conversations of similar predicted probability: its mean, and the share that is positive."""

    predicted: float
    observed: Rate


class Calibration(Frozen):
    """How far predicted probabilities can be taken at their word.

    A probability is ``sigmoid(score / temperature)``. ``error`` is the expected calibration error with the temperature,
    ``error_before`` without it; both and the ``points`` are of conversations that their temperature was not fitted on.
    """

    temperature: float
    error: float
    error_before: float
    points: tuple[ReliabilityPoint, ...]


class TrivialPredictor(Frozen):
    """What is known without any routing: its area under the ROC curve, and how much larger the surrogate's is."""

    auc: Rate
    lead: Rate


class SurrogateCard(Frozen):
    """An ensemble on the contrast of the dev split, beside trivial predictors and a control.

    ``members`` are the areas of its members alone. ``control`` is the area of a surrogate whose training and dev labels
    were permuted. ``explained_by`` names the predictors that do as well as the ensemble: of the form of the
    conversations (`turns`, `length`, `tokens`), and `words`.
    """

    accuracy: float
    auc: Rate
    members: tuple[float, ...]
    roc: Roc
    calibration: Calibration
    trivial: dict[str, TrivialPredictor]
    control: Rate
    explained_by: tuple[str, ...]
