import numpy as np
import pytest

from mascing.errors import DataError
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.statistics.auc import auc
from mascing.surrogates.card import surrogate_card
from mascing.surrogates.confounds import refuse_confounded

N = 200
LABELS = np.arange(N) % 2
GROUPS = [f"g{number // 2}" for number in range(N)]


def noisy(strength: float, seed: int) -> np.ndarray:
    return strength * (2 * LABELS - 1) + np.random.default_rng(seed).normal(size=N)


def card(surrogate: float, **trivial: float) -> SurrogateCard:
    """A card of an ensemble and predictors whose scores are that far from chance."""
    members = [noisy(surrogate, seed) for seed in (1, 2)]
    known = {name: noisy(strength, 9 + place) for place, (name, strength) in enumerate(trivial.items())}
    return surrogate_card(members, known, auc(noisy(0, 3), LABELS, GROUPS), LABELS, GROUPS)


def test_an_ensemble_is_the_mean_of_its_members_logits() -> None:
    measured = card(1.0)
    mean = (noisy(1.0, 1) + noisy(1.0, 2)) / 2
    assert measured.auc == auc(mean, LABELS, GROUPS)
    assert measured.auc.value > max(measured.members)
    assert measured.accuracy == np.mean((mean > 0) == (LABELS > 0))


def test_the_curve_is_thinned_and_keeps_its_ends() -> None:
    roc = card(0.3).roc
    assert len(roc.fpr) == len(roc.tpr) <= 100
    assert (roc.fpr[0], roc.tpr[0], roc.fpr[-1], roc.tpr[-1]) == (0, 0, 1, 1)
    assert list(roc.fpr) == sorted(roc.fpr)


@pytest.mark.parametrize(
    ("surrogate", "turns", "explained"),
    [
        (1.0, 0.0, False),  # form knows nothing
        (1.5, 0.5, False),  # form knows something, the surrogate clearly more
        (0.0, 0.0, False),  # neither knows anything: a bad surrogate, but not for its data's form
        (1.0, 1.5, True),
        (0.3, 0.5, True),
    ],
)
def test_form_explains_a_surrogate_that_is_not_shown_to_be_better(
    surrogate: float, turns: float, explained: bool
) -> None:
    assert (card(surrogate, turns=turns).explained_by == ("turns",)) is explained


def test_form_stops_and_words_do_not() -> None:
    refuse_confounded({"question": card(0.5, turns=0.0, words=2.0)})
    with pytest.raises(DataError) as refused:
        refuse_confounded({"question": card(2.0), "question+prompt": card(0.5, length=2.0)})
    message = str(refused.value)
    assert "the length of the conversation alone reaches an AUC of 0.99" in message
    assert "the surrogate of span question+prompt 0." in message
    assert "--allow-confounded" in message
    assert "span question " not in message
