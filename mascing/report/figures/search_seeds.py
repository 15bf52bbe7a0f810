"""How search seeds scatter: a dot for the best cell of each seed, per method."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, Table, to_spec
from mascing.report.figures.palette import marker
from mascing.report.looks import Look, looks_of
from mascing.report.wording import percent, points_text, set_title
from mascing.schemas.result import DevRates, SeedScatter

_SPREAD = 0.7
"""Share of a row's height over which the dots of a method are spread."""


_SMALL, _LARGE = 10, 16
"""Sizes of a dot, in pixels; the larger one marks the seed that found the pick."""


def seed_figures(seeds: Mapping[str, SeedScatter], baseline: DevRates) -> list[Figure]:
    """Plot the target rate of every seed's best cell, and its rate on each utility set."""
    if not seeds:
        return []
    sets = ("target", *(f"utility/{name}" for name in baseline.utility))
    return [_figure(name, seeds, baseline) for name in sets]


def seeds_table(seeds: Mapping[str, SeedScatter]) -> Table:
    """Make one row per method and seed."""
    sets = list(
        dict.fromkeys(f"utility/{name}" for each in seeds.values() for seed in each.seeds for name in seed.utility)
    )
    rows = [
        (
            method,
            f"{seed.search_seed} (picked)" if seed.picked else str(seed.search_seed),
            _text(seed.target_rate),
            "the best" if seed.behind is None else points_text(seed.behind),
            "yes" if seed.keeps else "no",
            *(_text(seed.by_set.get(name)) for name in sets),
        )
        for method, scatter in seeds.items()
        for seed in scatter.seeds
    ]
    columns = ("Method", "Search seed", "Target", "Behind the best, points", "Keeps the limits", *map(set_title, sets))
    return Table("The best cell of each search seed on dev", columns, tuple(rows))


def _figure(name: str, seeds: Mapping[str, SeedScatter], baseline: DevRates) -> Figure:
    looks = looks_of(seeds)
    said = "; ".join(
        f"{method} {', '.join(_text(seed.by_set.get(name)) for seed in scatter.seeds)}"
        for method, scatter in seeds.items()
    )
    return Figure(
        key="seeds-" + name.replace("/", "-"),
        title=f"{set_title(name)} by search seed",
        caption="A dot is the best cell of one search seed on dev. Hollow: its target rate is behind the best seed's "
        "by more than noise, or it loses more on utility or protected sets than a pick may. Large: the seed that found "
        "the pick. Dotted: the unsteered model.",
        alt=f"{set_title(name)}, rate on dev of each search seed's best cell: {said}.",
        spec=to_spec(
            [_dots(row, method, seeds[method], name, looks[method]) for row, method in enumerate(seeds)],
            {"title": "hits, % of dev conversations", "range": [-2, 102], "tickvals": [0, 25, 50, 75, 100]},
            {
                "title": "method",
                "range": [len(seeds) - 0.5, -0.5],
                "tickvals": list(range(len(seeds))),
                "ticktext": list(seeds),
                "showgrid": False,
            },
            height=76 + 48 * len(seeds),
            showlegend=False,
            shapes=_line(baseline.by_set.get(name)),
        ),
    )


def _dots(row: int, method: str, scatter: SeedScatter, name: str, look: Look) -> Json:
    """The dots of a method, one above the other, so that equal rates do not hide each other."""
    seeds = [seed for seed in scatter.seeds if name in seed.by_set]
    steps = [number / len(seeds) - (len(seeds) - 1) / (2 * len(seeds)) for number in range(len(seeds))]
    return {
        "type": "scatter",
        "name": method,
        "x": [100 * seed.by_set[name] for seed in seeds],
        "y": [row + _SPREAD * step for step in steps],
        "mode": "markers",
        "cliponaxis": False,
        "marker": marker(look)
        | {
            "symbol": [look.symbol if seed.within_noise else f"{look.symbol}-open" for seed in seeds],
            "size": [_LARGE if seed.picked else _SMALL for seed in seeds],
            "line": {"width": 2, "color": look.colour},
            "opacity": 0.75,
        },
        "text": [
            f"search seed {seed.search_seed}{', picked' if seed.picked else ''}: {percent(seed.by_set[name])}"
            for seed in seeds
        ],
        "hovertemplate": f"{method}, %{{text}}<extra></extra>",
    }


def _line(rate: float | None) -> list[Json]:
    if rate is None:
        return []
    line = {"color": "var(--baseline)", "width": 1, "dash": "dot"}
    return [{"type": "line", "x0": 100 * rate, "x1": 100 * rate, "yref": "paper", "y0": 0, "y1": 1, "line": line}]


def _text(rate: float | None) -> str:
    return "–" if rate is None else percent(rate)
