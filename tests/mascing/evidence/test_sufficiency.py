"""Enough to learn from, or the first thing to do about it."""

from typing import Any

import pytest

from mascing.evidence.sufficiency import lacking
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.settings.method_settings import GradientConfig, MethodsConfig
from tests.mascing.report.made_up_labels import label_facts, replies

JUDGE = ExactJudge()
CONFIG = RunConfig(
    model=ModelConfig(path="model"),
    behaviour=BehaviourConfig(name="b", conversations="c.jsonl", target=JUDGE, utility=JUDGE, protected=JUDGE),
    methods=MethodsConfig(gradient=GradientConfig()),
)
ENOUGH = {"positive": 8, "negative": 8, "positive_groups": 4, "negative_groups": 4, "both": 8, "on_policy": 0}


def told(train: dict[str, int], target: dict[str, Any], config: RunConfig = CONFIG, **facts: Any) -> tuple[str, ...]:
    """What is lacking with this contrast in train, and these target replies in every split."""
    sets = {split: {"target": target} for split in ("train", "dev", "test")}
    return lacking(label_facts(sets=sets, contrast={"train": ENOUGH | train, "dev": ENOUGH}, **facts), config)


def test_replies_that_were_cut_off_need_the_limit_that_was_found_first() -> None:
    note = "50 of 60 replies were cut off at 9 tokens: set generation.max_new_tokens to 30 or more"
    cut = replies(hits=1, misses=2, unscored=57, cut_off=50)
    *_, last = told({"positive": 0}, cut, matching={}, cut_off=note)
    assert last == note


def test_the_least_that_is_enough_is_enough() -> None:
    assert told({}, replies(hits=8, misses=8), matching={}) == ()


@pytest.mark.parametrize(
    ("train", "target", "short", "remedy"),
    [
        ({"positive": 7}, replies(hits=7, misses=50), "train: 7 matched positive conversations", "bring more convers"),
        ({"negative_groups": 3}, replies(hits=30, misses=30), "in 3 groups, at least 8 in 4", "of more groups"),
        (
            {"both": 7},
            replies(hits=30, misses=30),
            "train: 7 conversations with a wanted and",
            "behaviour.wanted_reply",
        ),
        ({"negative": 0}, replies(hits=60, misses=0), "train: 0 matched negative", "there is nothing to steer"),
        ({"positive": 0}, replies(hits=0, misses=60), "train: 0 matched positive", "give `behaviour.wanted_reply`"),
        ({"positive": 0}, replies(hits=1, misses=2, unscored=57), "0 matched positive", "try the judge on them with"),
    ],
)
def test_what_is_missing_comes_with_the_first_thing_to_do(
    train: dict[str, int], target: dict[str, Any], short: str, remedy: str
) -> None:
    *missing, last = told(train, target, matching={})
    assert any(short in sentence for sentence in missing)
    assert remedy in last


def test_classes_without_pairs_are_told_apart_from_too_few_conversations() -> None:
    matching = {"train": {"positive": 30, "negative": 30, "pairs": 2}}
    *_, last = told({"positive": 2, "negative": 2}, replies(hits=30, misses=30), matching=matching)
    assert "2 pairs from 30 positive and 30 negative" in last
    assert "loosen `behaviour.matching`" in last


def test_only_gradient_needs_both_replies() -> None:
    methods = CONFIG.methods.model_copy(update={"gradient": None, "refined": None})
    without = CONFIG.model_copy(update={"methods": methods})
    assert told({"both": 0}, replies(hits=30, misses=30), without, matching={}) == ()
