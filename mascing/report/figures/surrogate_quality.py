"""Whether the surrogates can be trusted: comparison with trivial predictors and a control, and calibration."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.figures.roc import DIAGONAL, LINES
from mascing.report.wording import percent
from mascing.schemas.cards.surrogate_card import SurrogateCard, TrivialPredictor
from mascing.schemas.result import Rate
from mascing.surrogates.confounds import confounds

_NAMES = {
    "turns": "turn count",
    "length": "characters",
    "tokens": "tokens read",
    "words": "words",
}
_SURROGATE, _CONTROL = "surrogate", "permuted labels"


def auc_figure(cards: Mapping[str, SurrogateCard]) -> Figure:
    """Plot a bar from chance, with its interval, for each ensemble, trivial predictor and control."""
    numbers = "; ".join(
        f"span {span}: " + ", ".join(f"{name} {_text(area)}" for name, area in _areas(card).items())
        for span, card in cards.items()
    )
    return Figure(
        key="auc",
        title="What else separates the classes",
        caption=(
            "AUC on the dev split with its 95% interval; bars start at chance (0.5). Turns, characters, tokens and "
            "words know nothing about routing. The control, a surrogate of permuted labels, should be at 0.5."
        ),
        alt=f"Area under the ROC curve with 95% interval, {numbers}.",
        spec=to_spec(
            [_bars(span, card, tint) for (span, card), (tint, _) in zip(cards.items(), LINES, strict=False)],
            {"title": "AUC", "range": [0.18, 1.02], "tickvals": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]},
            {"title": "", "autorange": "reversed", "type": "category", "showgrid": False},
            height=400,
            margin={"b": 92},
            barmode="group",
            bargap=0.35,
            legend=legend_below(0.22),
            shapes=[_CHANCE],
        ),
    )


def calibration_figure(cards: Mapping[str, SurrogateCard]) -> Figure:
    """Plot the observed against the predicted share of positive conversations, in bins of equal size."""
    errors = "; ".join(f"span {span}: error {percent(card.calibration.error)}" for span, card in cards.items())
    return Figure(
        key="calibration",
        title="Calibration of the surrogates",
        caption=(
            "Observed share of positive conversations against predicted probability, in dev bins of equal size. Each "
            "probability uses a temperature fitted on other groups. The dotted line is perfect calibration."
        ),
        alt=f"Reliability of the surrogates' probabilities, expected calibration error: {errors}.",
        spec=to_spec(
            [_reliability(span, card, *line) for (span, card), line in zip(cards.items(), LINES, strict=False)],
            {"title": "predicted positive, %", "range": [-2, 102]},
            {"title": "observed positive, %", "range": [-2, 102]},
            height=400,
            margin={"b": 92},
            legend=legend_below(0.22),
            shapes=[DIAGONAL],
        ),
    )


def surrogates_table(cards: Mapping[str, SurrogateCard]) -> Table:
    """List every number of the cards; the lead is the surrogate's area less the predictor's."""
    rows = []
    for span, card in cards.items():
        calibration = card.calibration
        rows += [
            (span, _SURROGATE, _text(card.auc), "–"),
            *((span, _NAMES[name], _text(predictor.auc), _text(predictor.lead)) for name, predictor in _trivial(card)),
            (span, _CONTROL, _text(card.control), "–"),
            (span, "members alone", ", ".join(f"{area:.3f}" for area in card.members), "–"),
            (span, "accuracy", percent(card.accuracy), "–"),
            (
                span,
                "calibration error",
                f"{percent(calibration.error)} at temperature {calibration.temperature:.2f}\n"
                f"{percent(calibration.error_before)} without it",
                "–",
            ),
        ]
    return Table("Surrogates on the dev split", ("Span", "What", "AUC or value", "Lead of the surrogate"), tuple(rows))


def doubts(cards: Mapping[str, SurrogateCard]) -> list[str]:
    """Warn, in one sentence each, of confounded, useless or leaking surrogates."""
    warnings = []
    for span, card in cards.items():
        form = confounds(card)
        for name in card.explained_by:
            reading = (
                "it may have learned the form of the data and not the behaviour"
                if name in form
                else "the words may cause the behaviour, but the surrogate shows no more than a bag of words does"
            )
            warnings.append(
                f"Span {span}: {_NAMES[name]} alone does as well as the surrogate (AUC "
                f"{_text(card.trivial[name].auc)} against {_text(card.auc)}); {reading}."
            )
        if card.auc.low <= 0.5:
            warnings.append(
                f"Span {span}: the surrogate is not shown to be better than chance (AUC {_text(card.auc)})."
            )
        if card.control.low > 0.5:
            warnings.append(
                f"Span {span}: a surrogate of permuted labels does better than chance (AUC {_text(card.control)}): "
                "look for conversations that are in both splits under different groups."
            )
    return warnings


_CHANCE = {
    "type": "line",
    "x0": 0.5,
    "x1": 0.5,
    "yref": "paper",
    "y0": 0,
    "y1": 1,
    "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
}


def _areas(card: SurrogateCard) -> dict[str, Rate]:
    trivial = {_NAMES[name]: predictor.auc for name, predictor in _trivial(card)}
    return {_SURROGATE: card.auc, **trivial, _CONTROL: card.control}


def _trivial(card: SurrogateCard) -> list[tuple[str, TrivialPredictor]]:
    return [(name, card.trivial[name]) for name in _NAMES if name in card.trivial]


def _bars(span: str, card: SurrogateCard, tint: str) -> Json:
    areas = _areas(card)
    return {
        "type": "bar",
        "orientation": "h",
        "name": span,
        "y": list(areas),
        "base": 0.5,
        "x": [area.value - 0.5 for area in areas.values()],
        "marker": {"color": tint, "opacity": 0.75},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [area.high - area.value for area in areas.values()],
            "arrayminus": [area.value - area.low for area in areas.values()],
            "color": "var(--ink)",
            "thickness": 1.5,
            "width": 3,
        },
        "hovertext": [f"{name}: {_text(area)}" for name, area in areas.items()],
        "hovertemplate": f"%{{hovertext}}<extra>{span}</extra>",
    }


def _reliability(span: str, card: SurrogateCard, tint: str, dash: str) -> Json:
    points = card.calibration.points
    return {
        "type": "scatter",
        "name": f"{span} (error {percent(card.calibration.error)})",
        "x": [100 * point.predicted for point in points],
        "y": [100 * point.observed.value for point in points],
        "mode": "lines+markers",
        "line": {"color": tint, "dash": dash, "width": 1.5},
        "marker": {"color": tint, "size": 8},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (point.observed.high - point.observed.value) for point in points],
            "arrayminus": [100 * (point.observed.value - point.observed.low) for point in points],
            "color": tint,
            "thickness": 1,
            "width": 3,
        },
        "hovertemplate": f"%{{x:.1f}}% predicted, %{{y:.1f}}% observed<extra>{span}</extra>",
    }


def _text(area: Rate) -> str:
    return f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
