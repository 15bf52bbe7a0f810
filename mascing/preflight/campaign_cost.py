"""What a run will generate and judge, counted before it starts: replies by stage, at most."""

from math import ceil, prod

from mascing.preflight.rows import Rows
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.selection.budget import Budget

SHARED = "label"
"""The stage that the seeds of a model and a behaviour share."""


def replies_of(config: RunConfig, rows: Rows) -> dict[str, int]:
    """Replies by stage, each of which one judge judges; at most, since races end early and masks fail gates.

    A method of the user's own counts as one that proposes a single mask.
    """
    sizes = {split: sets.total() for split, sets in rows.sets.items()}
    sampled = config.label.samples * sum(rows.sets[split]["target"] for split in ("train", "dev"))
    masks = len(config.methods.searched) + 1  # and the control
    candidates = sum(_candidates(config, name, settings) for name, settings in config.methods.searched.items())
    budget = Budget(candidates * sizes["dev"], racing=config.selection.mode == "racing")
    active = config.methods.active
    return {
        SHARED: sum(sizes.values()) + sampled,
        "optimise": active.budget * active.search_seeds if active else 0,
        "select": budget.total,
        "evaluate": masks * sizes["test"],
        "robustness": _conditions(config) * masks * _judged_in_each(config, rows),
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


def _judged_in_each(config: RunConfig, rows: Rows) -> int:
    """Test conversations of each condition."""
    return sum(min(config.robustness.conversations, count) for count in rows.sets["test"].values())
