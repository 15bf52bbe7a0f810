import numpy as np

from mascing.report.figures.surrogate_quality import auc_figure, doubts
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.statistics.auc import auc
from mascing.surrogates.card import surrogate_card

LABELS = np.arange(100) % 2
GROUPS = [str(number) for number in range(100)]


def card(surrogate: float, control: float = 0.0, **trivial: float) -> SurrogateCard:
    """The card of scores at the given distance from chance."""
    rng = np.random.default_rng(0)
    scores = {name: strength * LABELS + rng.normal(size=100) for name, strength in (trivial | {"_": surrogate}).items()}
    permuted = auc(control * LABELS + rng.normal(size=100), LABELS, GROUPS)
    return surrogate_card([scores.pop("_")], scores, permuted, LABELS, GROUPS)


def test_form_that_explains_is_told_from_words_that_do() -> None:
    form, words = doubts({"question": card(1.0, turns=3.0, length=0.0), "question+prompt": card(1.0, words=3.0)})
    assert "Span question: turn count alone does as well as the surrogate" in form
    assert "the form of the data" in form
    assert "Span question+prompt: words alone" in words
    assert "may cause the behaviour" in words


def test_a_surrogate_that_knows_nothing_and_a_control_that_knows_something_are_doubted() -> None:
    chance, control = doubts({"question": card(0.0, control=2.0)})
    assert "not shown to be better than chance" in chance
    assert "a surrogate of permuted labels does better than chance" in control
    assert doubts({"question": card(3.0, turns=0.0, words=0.5)}) == []


def test_bars_start_at_chance_and_reach_the_area() -> None:
    measured = card(2.0, turns=0.5, words=1.0)
    (bars,) = auc_figure({"question": measured}).spec["data"]
    assert bars["y"] == ["surrogate", "turn count", "words", "permuted labels"]
    ends = [bars["base"] + x for x in bars["x"]]
    areas = [measured.auc, measured.trivial["turns"].auc, measured.trivial["words"].auc, measured.control]
    assert np.allclose(ends, [area.value for area in areas])
    assert np.allclose(
        [end + up for end, up in zip(ends, bars["error_x"]["array"], strict=True)], [a.high for a in areas]
    )
