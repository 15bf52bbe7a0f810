"""Pruning a pick on the model itself removes entries without effect and keeps those that cause the behaviour."""

from pathlib import Path

import pytest

from mascing.evidence.results import cell_score
from mascing.schemas.config import RunConfig
from mascing.tasks.picking.finals import judged_further
from mascing.tasks.picking.pruned import pruned
from mascing.tasks.picking.shuffles import control_of, replies_for_control
from tests.small_run import small_config
from tests.tasks.picking.planted_pick import (
    CountingPool,
    dev_conversations,
    idle_layers,
    jury_of,
    pick_of,
    planted_mask,
    race_over,
    without_margin,
)


@pytest.fixture(scope="module")
def config(testbed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return small_config(testbed_folder, tmp_path_factory.mktemp("sparsify"))


@pytest.mark.parametrize("given", [True, False])
def test_entries_without_effect_are_pruned_and_the_cost_is_told(config: RunConfig, tmp_path: Path, given: bool) -> None:
    pool, conversations = CountingPool(), dev_conversations(config)
    if not given:
        conversations = without_margin(conversations)
    dev, mask = race_over(jury_of(pool, config, tmp_path, conversations)), planted_mask(pool, config)
    pick = pick_of(dev, mask, judged=dev.ends[0])
    pool.replies = 0
    [smaller], facts = pruned(dev, [pick], budget=30 * dev.ends[0])
    kept = smaller.candidate.mask
    assert not kept.rule.entries_LE[idle_layers(config)].any()
    assert 0 < kept.entries < mask.entries - 4
    assert smaller.candidate.cell == {"alpha": 1.0, "kept": kept.entries}
    assert [row["conversation_id"] for row in smaller.rows] == [row["conversation_id"] for row in pick.rows]
    fact = facts["gradient"]
    assert (fact.entries, fact.kept) == (mask.entries, kept.entries)
    assert 0 < pool.replies <= fact.replies  # a part that comes up again is judged from what is stored
    before, after = fact.target_rate
    assert after >= before - 0.05
    assert len(fact.single) == (min(8, kept.entries) if given else 0)
    assert given is (fact.replies == dev.ends[0])
    assert all(kept.rule.entries_LE[kept.spec.layer_ids.index(row.layer), row.expert] for row in fact.single)
    assert all(0 <= row.share < 1 for row in fact.single)


def test_a_budget_that_is_spent_still_pays_for_one_part_on_the_first_block(config: RunConfig, tmp_path: Path) -> None:
    pool = CountingPool()
    dev = race_over(jury_of(pool, config, tmp_path, dev_conversations(config)))
    mask = planted_mask(pool, config)
    pick = pick_of(dev, mask, judged=dev.ends[1])
    [smaller], facts = pruned(dev, [pick], budget=-5)
    assert smaller.candidate.mask.entries < mask.entries
    assert facts["gradient"].replies == len(smaller.rows) == dev.ends[0]


def test_picks_are_judged_on_whole_blocks_as_far_as_the_budget_goes(config: RunConfig, tmp_path: Path) -> None:
    pool = CountingPool()
    dev = race_over(jury_of(pool, config, tmp_path, dev_conversations(config)))
    mask = planted_mask(pool, config)
    first, last = dev.ends
    picks = [pick_of(dev, mask, judged) for judged in (first, last)]
    assert judged_further(dev, picks, budget=last - first - 1) == (picks, 0)
    further, replies = judged_further(dev, picks, budget=last - first)
    assert replies == last - first
    assert further[0].rows == further[1].rows == picks[1].rows


def test_the_control_is_a_shuffle_of_middling_effect_and_costs_no_reply_where_given_replies_are_read(
    config: RunConfig, tmp_path: Path
) -> None:
    pool = CountingPool()
    dev = race_over(jury_of(pool, config, tmp_path, dev_conversations(config)))
    mask = planted_mask(pool, config)
    pick = pick_of(dev, mask, judged=dev.ends[0])
    pool.replies = 0
    control = control_of(dev, [pick], budget=0)
    assert (pool.replies, list(control.rows), replies_for_control(dev)) == (0, [], 0)
    assert control.candidate.mask.entries == mask.entries


def test_without_given_replies_every_shuffle_is_judged(config: RunConfig, tmp_path: Path) -> None:
    pool = CountingPool()
    conversations = without_margin(dev_conversations(config))
    dev, mask = race_over(jury_of(pool, config, tmp_path, conversations)), planted_mask(pool, config)
    pick = pick_of(dev, mask, judged=dev.ends[0])
    targets = sum(row["set"] == "target" for row in pick.rows)
    pool.replies = 0
    control = control_of(dev, [pick], budget=replies_for_control(dev))
    assert pool.replies == replies_for_control(dev) == 5 * targets == sum(map(len, control.rows))
    rates = [cell_score({}, rows).target_rate for rows in control.rows]
    drawn = int(control.candidate.cell["seed"]) - config.seed
    assert sorted(rates)[2] == rates[drawn]
