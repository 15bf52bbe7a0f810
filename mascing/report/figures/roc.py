"""How well each surrogate separates the two classes on unseen conversations."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, legend_below, to_spec
from mascing.schemas.cards.surrogate_card import SurrogateCard

LINES = (("var(--mascing)", "solid"), ("var(--steermoe)", "dash"), ("var(--gradient)", "dot"))
"""Colour and dash of each span, in order."""

DIAGONAL = {
    "type": "line",
    "x0": 0,
    "y0": 0,
    "x1": 100,
    "y1": 100,
    "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
}


def roc_figure(cards: Mapping[str, SurrogateCard]) -> Figure:
    """Plot one ROC curve per span, with its area; ``cards`` maps a span to its ensemble's card."""
    areas = "; ".join(f"span {span}: AUC {card.auc.value:.3f}" for span, card in cards.items())
    return Figure(
        key="roc",
        title="Surrogate ROC, by span",
        caption=(
            "The mean of each ensemble on the dev split. The dotted line is chance. A surrogate that reads the routing "
            "well is no evidence that a mask affects the replies."
        ),
        alt=f"ROC curves of the surrogates, {areas}.",
        spec=to_spec(
            [_curve(span, card, *line) for (span, card), line in zip(cards.items(), LINES, strict=False)],
            {"title": "false positive rate, %", "range": [-1, 101]},
            {"title": "true positive rate, %", "range": [-1, 101]},
            height=400,
            margin={"b": 92},
            legend=legend_below(0.22),
            shapes=[DIAGONAL],
        ),
    )


def _curve(span: str, card: SurrogateCard, tint: str, dash: str) -> Json:
    return {
        "type": "scatter",
        "name": f"{span} (AUC {card.auc.value:.3f})",
        "x": [100 * value for value in card.roc.fpr],
        "y": [100 * value for value in card.roc.tpr],
        "mode": "lines",
        "line": {"color": tint, "dash": dash, "width": 2.5},
        "hovertemplate": f"%{{x:.1f}}% false, %{{y:.1f}}% true<extra>{span}</extra>",
    }
