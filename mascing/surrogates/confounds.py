"""Confounds: surrogates that the form of the conversations explains, which stop a run."""

from collections.abc import Mapping

from mascing.errors import DataError
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.surrogates.trivial_predictors import FORM

_DESCRIPTIONS = {
    "turns": "the number of user turns",
    "length": "the length of the conversation",
    "tokens": "the number of tokens that the surrogate reads",
}


def confounds(card: SurrogateCard) -> list[str]:
    """The predictors of form that explain the surrogate; no mask should be built on them.

    Words in ``explained_by`` are not a confound: the content of a question may well cause the behaviour. The number of
    turns or characters is a property of how the conversations were collected.
    """
    return [name for name in card.explained_by if name in FORM]


def refuse_confounded(cards: Mapping[str, SurrogateCard]) -> None:
    """Raise DataError, with numbers and advice, if form alone does as well as a surrogate."""
    explanations = [_explanation(span, name, card) for span, card in cards.items() for name in confounds(card)]
    if explanations:
        raise DataError(
            f"the classes differ in form, and form explains the surrogate: {'; '.join(explanations)}. A mask found "
            "through it would steer by how conversations look and not by the behaviour. Add conversations that have "
            "the same form in both classes, or leave `behaviour.matching` on, which keeps only such pairs; to go on "
            "all the same, run with --allow-confounded or set `surrogate.allow_confounded: true`"
        )


def _explanation(span: str, name: str, card: SurrogateCard) -> str:
    alone = card.trivial[name].auc
    return (
        f"on the dev split {_DESCRIPTIONS[name]} alone reaches an AUC of {alone.value:.3f} ({alone.low:.3f} to "
        f"{alone.high:.3f}), the surrogate of span {span} {card.auc.value:.3f} ({card.auc.low:.3f} to "
        f"{card.auc.high:.3f})"
    )
