"""How the search seeds of one method scatter on dev: which of them may be as good as the best."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.evidence.results import cell_score
from mascing.schemas.cards.dev_race import SeedPick
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import Rate, SeedRates, SeedScatter
from mascing.selection.choice import choose, excess
from mascing.statistics import paired_difference

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one candidate."""


def seed_scatter(
    picks: Sequence[SeedPick],
    verdicts: Mapping[int, Rows],
    unsteered: Mapping[str, Mapping[str, Any]],
    gates: GatesConfig,
    picked: int | None = None,
) -> SeedScatter:
    """Compare the best cell of each search seed with that of the best seed, on the conversations that they share.

    ``verdicts`` are those on dev by the cells of ``picks``, in the order of judging, ``unsteered`` those on the
    unsteered model by conversation id. The best seed is the one that `choose` takes: a seed that loses more on utility
    or protected sets than a pick may is no better for its target rate. ``picked`` is the search seed of the method's
    pick.
    """
    rows = [verdicts[pick.cell][: pick.judged] for pick in picks]
    baseline = cell_score({}, [unsteered[row["conversation_id"]] for row in rows[0]])
    scores = [cell_score({}, of_seed) for of_seed in rows]
    best = choose(baseline, scores, gates)
    target = [_target(of_seed) for of_seed in rows]
    before = {name: unsteered[name] for name in target[best]}
    seeds = tuple(
        SeedRates(
            search_seed=pick.search_seed,
            target_rate=pick.target_rate,
            utility=pick.utility,
            protected=pick.protected,
            behind=None if number == best else _difference(target[best], target[number]),
            uplift=_difference(before, target[number]),
            keeps=excess(baseline, scores[number], gates) == 0,
            picked=pick.search_seed == picked,
        )
        for number, pick in enumerate(picks)
    )
    within_noise = sum(seed.within_noise for seed in seeds)
    return SeedScatter(judged=min(pick.judged for pick in picks), within_noise=within_noise, seeds=seeds)


def _target(rows: Rows) -> dict[str, Mapping[str, Any]]:
    return {row["conversation_id"]: row for row in rows if row["set"] == "target"}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Rate:
    """The target rate of ``after`` minus that of ``before``, paired by conversation."""
    ids = list(before)
    earlier, later = ([rows[name]["outcome"] for name in ids] for rows in (before, after))
    return paired_difference(earlier, later, [before[name]["group_id"] for name in ids])
