"""How well each surrogate tells the two classes apart on conversations it did not see."""

from collections.abc import Mapping
from typing import Any

from mascing.report.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.wording import percent

_LINES = (("var(--mascing)", "solid"), ("var(--steermoe)", "dash"), ("var(--gradient)", "dot"))

_CHANCE = {
    "type": "line",
    "x0": 0,
    "y0": 0,
    "x1": 100,
    "y1": 100,
    "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
}


def roc_figure(cards: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One ROC curve a span, with area and accuracy; ``cards`` maps a span to its surrogate's card."""
    drawn = {span: card for span, card in cards.items() if card["roc"]["fpr"]}
    told = "; ".join(f"span {span}: AUC {_auc(card)}" for span, card in cards.items())
    return Figure(
        key="roc",
        title="Surrogate ROC, by span",
        caption=(
            "On the dev split. Dotted: chance. That a surrogate reads the routing well is no evidence that a mask acts "
            "on the replies."
        ),
        alt=f"ROC curves of the surrogates, {told}.",
        spec=to_spec(
            [_curve(span, card, *line) for (span, card), line in zip(drawn.items(), _LINES, strict=False)],
            {"title": "false positive rate, %", "range": [-1, 101]},
            {"title": "true positive rate, %", "range": [-1, 101]},
            height=400,
            margin={"b": 92},
            legend=legend_below(0.22),
            shapes=[_CHANCE],
        ),
        numbers=Table(
            caption="Surrogates on the dev split",
            columns=("Span", "Accuracy", "AUC"),
            rows=tuple((span, percent(card["accuracy"]), _auc(card)) for span, card in cards.items()),
        ),
    )


def _curve(span: str, card: Mapping[str, Any], tint: str, dash: str) -> Json:
    return {
        "type": "scatter",
        "name": f"{span} (AUC {_auc(card)})",
        "x": [100 * value for value in card["roc"]["fpr"]],
        "y": [100 * value for value in card["roc"]["tpr"]],
        "mode": "lines",
        "line": {"color": tint, "dash": dash, "width": 2.5},
        "hovertemplate": f"%{{x:.1f}}% false, %{{y:.1f}}% true<extra>{span}</extra>",
    }


def _auc(card: Mapping[str, Any]) -> str:
    return "–" if card["auc"] is None else f"{card['auc']:.3f}"
