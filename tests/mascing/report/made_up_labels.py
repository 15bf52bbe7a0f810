"""What the label stage of a synthetic run found: enough to learn from, and labels that the model half agrees with."""

from typing import Any

from mascing.schemas.facts import LabelFacts


def label_facts(**changes: Any) -> LabelFacts:
    """Replies of 60 test conversations a set, and matched classes in train and dev."""
    sets = {
        "target": replies(hits=30, misses=28, unscored=2),
        "utility/benign": replies(hits=60, misses=0),
        "protected/forbidden": replies(hits=58, misses=2),
    }
    contrast = {"positive": 17, "negative": 17, "positive_groups": 9, "negative_groups": 8, "both": 30, "on_policy": 12}
    facts = {
        "checkpoint": "c" * 64,
        "sets": {split: sets for split in ("train", "dev", "test")},
        "matching": {"dev": {"positive": 18, "negative": 22, "pairs": 17}},
        "unmatched": {},
        "contrast": {"train": contrast, "dev": contrast},
        "agreement": {"kappa": {"value": 0.31, "low": 0.2, "high": 0.42, "n": 60, "unscored": 2}, "share": 0.66},
    }
    return LabelFacts.model_validate(facts | changes)


def replies(hits: int, misses: int, unscored: int = 0, cut_off: int = 0) -> dict[str, Any]:
    """The counts of a set with a made-up interval."""
    n = hits + misses + unscored
    share = hits / n
    rate = {"value": share, "low": max(0, share - 0.1), "high": min(1, share + 0.1), "n": n, "unscored": unscored}
    return {"hits": hits, "misses": misses, "unscored": unscored, "cut_off": cut_off, "rate": rate}
