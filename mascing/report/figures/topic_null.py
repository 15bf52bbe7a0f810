"""The strongest experts of the contrast beside splits by topic and at random, and the surrogates likewise."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.wording import percent
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.schemas.cards.topic_null import Effects, ExpertNull


def effects_figures(experts: Mapping[str, ExpertNull]) -> list[Figure]:
    """Plot, for each span, the effect of every listed expert, and how far splits move the same expert."""
    return [_figure(span, null) for span, null in experts.items()]


def nulls_table(experts: Mapping[str, ExpertNull], cards: Mapping[str, SurrogateCard]) -> Table:
    """List what splits explain of each span's experts, and how far its surrogates tell topics apart."""
    rows = []
    for span, null in experts.items():
        for name, effects in (("topic", null.topic), ("random", null.random)):
            if effects is not None:
                rows.append((f"{span}, strongest experts", f"{name}, {effects.splits} splits", *_cells(null, effects)))
    for span, card in cards.items():
        if card.topic is not None and card.topic.topic is not None:
            areas = (f"AUC {card.topic.area:.3f}", f"AUC {card.topic.topic:.3f}")
            rows.append((f"{span}, surrogate", f"topic, {card.topic.splits} splits", *areas, "–", "–"))
    columns = (
        "What",
        "Beside",
        "Behaviour",
        "Strongest 5% of the splits",
        "Experts not above",
        "Their share of the effect",
    )
    return Table("What splits by topic alone and random splits do", columns, tuple(rows)).without_empty_columns()


def _cells(null: ExpertNull, effects: Effects) -> tuple[str, str, str, str]:
    return f"{null.effect:.3f}", f"{effects.own:.3f}", percent(effects.below), percent(effects.of_effect)


def _figure(span: str, null: ExpertNull) -> Figure:
    ranks = list(range(1, len(null.listed) + 1))
    behaviour = [abs(expert.risk_difference) for expert in null.listed]
    topic = [expert.topic for expert in null.listed if expert.topic is not None]
    said = f"{percent(null.topic.below)} do not exceed the splits by topic" if null.topic else "no split by topic"
    return Figure(
        key=f"topic-null-{span}".replace("+", "-"),
        title=f"Strongest experts beside splits by topic, span {span}",
        caption=(
            "How much more often, or less, the behaviour's tokens select each of the strongest experts. Beside it, the "
            "95% quantile of what splits by topic alone, and random splits, do at the same expert."
        ),
        alt=f"Risk differences of the {len(ranks)} strongest experts, from {behaviour[0]:.3f} to {behaviour[-1]:.3f}; "
        f"{said}; {percent(null.random.below)} do not exceed random splits.",
        spec=to_spec(
            [
                _dots("behaviour", ranks, behaviour, "var(--ink)", "circle"),
                *([_dots("between topics", ranks, topic, "var(--up)", "diamond")] if topic else []),
                _dots("at random", ranks, [expert.random for expert in null.listed], "var(--muted)", "line-ew-open"),
            ],
            {"title": "rank of the expert", "range": [0, len(ranks) + 1]},
            {"title": "difference of selection", "rangemode": "tozero"},
            height=320,
            margin={"b": 92},
            legend=legend_below(0.28),
        ),
    )


def _dots(name: str, ranks: list[int], values: list[float], colour: str, symbol: str) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": ranks,
        "y": values,
        "marker": {"color": colour, "symbol": symbol, "size": 8},
        "hovertemplate": f"{name}, rank %{{x}}: %{{y:.3f}}<extra></extra>",
    }
