"""What a run will generate and judge, counted before it starts: replies by stage, at most."""

from collections import Counter
from collections.abc import Mapping
from math import ceil, prod

from mascing.preflight.rows import Rows
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.selection.budget import Budget

SHARED = "label"
"""The stage that the seeds of a model and a behaviour share."""


CHOOSING = ("optimise", "select")
"""Stages that choose the replies that they judge; how these spread over the sets is foretold by their sizes."""


def replies_of(config: RunConfig, rows: Rows) -> dict[str, int]:
    """Replies by stage, each of which one judge judges; at most, since races end early and masks fail gates.

    A method of the user's own counts as one that proposes a single mask.
    """
    return {stage: round(sum(counts.values())) for stage, counts in judged_of(config, rows).items()}


def judged_of(config: RunConfig, rows: Rows) -> dict[str, Mapping[str, float]]:
    """The same by stage and set."""
    whole: Counter[str] = sum(rows.sets.values(), Counter())
    sampled = config.label.samples * sum(rows.sets[split]["target"] for split in ("train", "dev"))
    masks = len(config.methods.searched) + 1  # and the control
    candidates = sum(_candidates(config, name, settings) for name, settings in config.methods.searched.items())
    budget = Budget(candidates * rows.sets["dev"].total(), racing=config.selection.mode == "racing")
    active, test = config.methods.active, rows.sets["test"]
    conditions, most = _conditions(config), config.robustness.conversations
    return {
        SHARED: whole + Counter(target=sampled),
        "optimise": _spread(active.budget * active.search_seeds if active else 0, rows.sets["train"]),
        "select": _spread(budget.total, rows.sets["dev"]),
        "evaluate": {name: masks * count for name, count in test.items()},
        "robustness": {name: conditions * masks * min(most, count) for name, count in test.items()},
    }


def tokens_of(config: RunConfig, replies: int) -> int:
    """Generated tokens, at most: as if every reply reached its limit."""
    return replies * config.generation.max_new_tokens


def _candidates(config: RunConfig, name: str, settings: Frozen) -> int:
    """The cells of a method's grid, with each of its search seeds."""
    grid = prod(len(values) for _, values in settings if isinstance(values, tuple) and values)
    seeds = config.surrogate.members if name == "mascing" else getattr(settings, "search_seeds", 1)
    return ceil(grid * seeds)


def _conditions(config: RunConfig) -> int:
    changed = config.robustness
    further = len(changed.system_prompts) + len(changed.temperatures)
    return changed.paraphrase + further + (changed.earlier_exchanges > 0)


def _spread(replies: int, sets: Counter[str]) -> dict[str, float]:
    """Replies spread over sets by their sizes."""
    return {name: replies * count / sets.total() for name, count in sets.items()}
