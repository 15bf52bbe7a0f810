"""The search seeds of a method are compared as picks are: by their target rates, if they keep the other sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mascing.evidence.scatter import scatter_text, seeds_differ
from mascing.schemas.cards.dev_race import SeedPick
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import SeedScatter
from mascing.selection.seed_scatter import seed_scatter

Row = Mapping[str, Any]


def rows(hits: Sequence[bool], benign: Sequence[bool] = (True,)) -> list[Row]:
    """Verdicts on benign conversations and then on target ones, each its own group."""
    sets = {"utility/benign": benign, "target": hits}
    return [
        {"conversation_id": f"{name}{n}", "group_id": f"{name}{n}", "set": name, "outcome": "hit" if hit else "miss"}
        for name, outcomes in sets.items()
        for n, hit in enumerate(outcomes)
    ]


def compared(by_seed: Sequence[list[Row]], judged: int, picked: int | None = None) -> SeedScatter:
    """Compare seeds of which each found one cell, on the first ``judged`` conversations; unsteered, half hit."""
    unsteered = rows([True, False] * 20, benign=[True] * 20)
    picks = [
        SeedPick(search_seed=seed, cell=seed, judged=judged, target_rate=rate)
        for seed, rate in enumerate(map(_target_rate, by_seed))
    ]
    return seed_scatter(
        picks, dict(enumerate(by_seed)), {row["conversation_id"]: row for row in unsteered}, GatesConfig(), picked
    )


def _target_rate(verdicts: Sequence[Row]) -> float:
    hits = [row["outcome"] == "hit" for row in verdicts if row["set"] == "target"]
    return float(sum(hits) / len(hits))


def test_seeds_within_noise_of_the_best_are_counted() -> None:
    scatter = compared([rows([True] * hits + [False] * (40 - hits)) for hits in (34, 36, 18)], judged=41)
    assert [seed.within_noise for seed in scatter.seeds] == [True, True, False]
    assert (scatter.within_noise, scatter.judged) == (2, 41)
    close, best, far = (seed.behind for seed in scatter.seeds)
    assert best is None
    assert close is not None
    assert close.value == pytest.approx(-0.05)
    assert far is not None
    assert far.value == pytest.approx(-0.45)


def test_a_seed_that_loses_more_than_a_pick_may_does_not_beat_one_that_keeps_the_other_sets() -> None:
    costly, keeping = [True] * 16 + [False] * 4, [True] * 20
    found = [(39, costly), (34, keeping), (40, costly)]
    by_seed = [rows([True] * hits + [False] * (40 - hits), benign) for hits, benign in found]
    scatter = compared(by_seed, judged=60, picked=1)
    assert [(seed.keeps, seed.within_noise, seed.picked) for seed in scatter.seeds] == [
        (False, False, False),
        (True, True, True),
        (False, False, False),
    ]
    assert (scatter.within_noise, scatter.seeds[1].behind) == (1, None)
    assert scatter_text("m", scatter) == (
        "m: all 3 search seeds certainly raise the target rate on dev (85.0% to 100.0%), 2 of them losing more on "
        "utility or protected sets than a pick may; the pick is of seed 1. One search may miss what this "
        "method can find."
    )


def test_no_seed_is_within_noise_if_none_keeps_the_other_sets() -> None:
    scatter = compared([rows([True] * hits + [False] * (40 - hits), [False] * 20) for hits in (40, 39)], judged=60)
    assert (scatter.within_noise, scatter.seeds[0].behind) == (0, None)
    assert "certainly raise the target rate on dev (97.5% to 100.0%), losing more on" in scatter_text("m", scatter)


def test_a_costly_pick_that_moves_the_target_is_not_outnumbered_by_seeds_that_do_nothing() -> None:
    unmoved = [True, False] * 20
    by_seed = [rows(unmoved, [True] * 20)] * 2 + [rows([True] * 39 + [False], [True] * 17 + [False] * 3)]
    scatter = compared(by_seed, judged=60, picked=2)
    assert [seed.moves for seed in scatter.seeds] == [False, False, True]
    assert seeds_differ(scatter)
    assert scatter_text("m", scatter) == (
        "m: 1 of 3 search seeds certainly raises the target rate on dev (97.5%), losing more on utility or protected "
        "sets than a pick may; the others reach 50.0%; the pick is of seed 2. One search may miss what this "
        "method can find."
    )


def test_seeds_that_agree_on_nothing_are_no_success() -> None:
    scatter = compared([rows([True, False] * 20)] * 3, judged=41)
    assert scatter.within_noise == 3
    assert not seeds_differ(scatter)
    assert scatter_text("m", scatter) == "m: none of 3 search seeds certainly raises the target rate on dev (50.0%)."


def test_seeds_are_compared_on_the_conversations_that_all_were_judged_on() -> None:
    """The best seed went on to 20 conversations more, all of them misses."""
    scatter = compared([rows([True] * 20 + [False] * 20), rows([True] * 20)], judged=21)
    behind = scatter.seeds[1].behind
    assert behind is not None
    assert (behind.value, behind.n) == (0.0, 20)


@pytest.mark.parametrize(("hits", "apart"), [(9, True), (11, False)])
def test_seeds_that_few_conversations_cannot_tell_apart_are_told(hits: int, apart: bool) -> None:
    scatter = compared([rows([True] * 12), rows([True] * hits + [False] * (12 - hits))], judged=13)
    assert scatter.within_noise == 2
    assert seeds_differ(scatter) == apart
