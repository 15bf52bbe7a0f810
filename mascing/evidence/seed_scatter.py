"""How the search seeds of one method scatter on dev: which of them may be as good as the best."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.schemas.facts import SeedPick
from mascing.schemas.result import Rate, SeedRates, SeedScatter
from mascing.statistics import paired_difference

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one candidate."""


def seed_scatter(picks: Sequence[SeedPick], verdicts: Mapping[int, Rows]) -> SeedScatter:
    """Compare the best cell of each search seed with that of the best seed, on the conversations that they share.

    ``verdicts`` are those on dev by the cells of ``picks``, in the order of judging. The best seed is the one with the
    highest target rate.
    """
    best = max(picks, key=lambda pick: -1.0 if pick.target_rate is None else pick.target_rate)
    target = {pick.cell: _target(verdicts[pick.cell][: pick.judged]) for pick in picks}
    seeds = tuple(
        SeedRates(
            search_seed=pick.search_seed,
            target_rate=pick.target_rate,
            utility=pick.utility,
            protected=pick.protected,
            behind=None if pick is best else _behind(target[best.cell], target[pick.cell]),
        )
        for pick in picks
    )
    within_noise = sum(seed.within_noise for seed in seeds)
    return SeedScatter(judged=min(pick.judged for pick in picks), within_noise=within_noise, seeds=seeds)


_APART = 0.1
"""A difference of target rates that is told even where noise alone may make it."""


def far_apart(scatter: SeedScatter) -> bool:
    """Return whether the target rates of the seeds are 10 points apart or more, certain or not."""
    lowest, highest = scatter.target_rates
    return highest - lowest >= _APART


def _target(rows: Rows) -> dict[str, Mapping[str, Any]]:
    return {row["conversation_id"]: row for row in rows if row["set"] == "target"}


def _behind(best: Mapping[str, Any], other: Mapping[str, Any]) -> Rate:
    """The target rate of ``other`` minus that of ``best``, paired by conversation."""
    ids = list(best)
    before, after = ([rows[name]["outcome"] for name in ids] for rows in (best, other))
    return paired_difference(before, after, [best[name]["group_id"] for name in ids])
