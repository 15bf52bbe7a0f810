"""What a run will generate and judge, counted before it starts: replies by stage, at most."""

from collections import Counter
from collections.abc import Mapping
from math import ceil, prod

from mascing.preflight.rows import Rows
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.selection.budget import Budget

CHOOSING = ("optimise", "select")
"""Stages that choose the replies that they judge; how these spread over the sets is foretold by their sizes."""


def replies_of(config: RunConfig, rows: Rows) -> dict[str, int]:
    """Replies by stage, each of which one judge judges; at most, since races end early and masks fail gates.

    Of a live conversation every user turn takes a reply, though it may stop before the last. A method of the user's own
    counts as one that proposes a single mask.
    """
    return {stage: round(sum(counts.values())) for stage, counts in judged_of(config, rows).items()}


def judged_of(config: RunConfig, rows: Rows) -> dict[str, Mapping[str, float]]:
    """The same by stage and set."""
    whole: Counter[str] = sum(rows.replies.values(), Counter())
    sampled = config.label.samples * sum(rows.replies[split]["target"] for split in ("train", "dev"))
    masks = len(config.methods.searched) + 1  # and the control
    candidates = sum(_candidates(config, name, settings) for name, settings in config.methods.searched.items())
    raced = _selecting(config, candidates, masks, rows.sets["dev"].total()) * max(rows.most_replies.values(), default=1)
    active = config.methods.active
    return {
        "label": whole + Counter(target=sampled),
        # Trials answer the last turn of a live conversation too.
        "optimise": _spread(active.budget * active.search_seeds if active else 0, rows.sets["train"]),
        "select": _spread(raced, rows.sets["dev"]),
        "evaluate": {name: masks * count for name, count in rows.replies["test"].items()},
        "robustness": {name: masks * _changed(config, rows, name) for name in rows.sets["test"]},
    }


def tokens_of(config: RunConfig, replies: int) -> int:
    """Generated tokens, at most: as if every reply reached its limit."""
    return replies * config.generation.max_new_tokens


def _candidates(config: RunConfig, name: str, settings: Frozen) -> int:
    """The cells of a method's grid, with each of its search seeds."""
    grid = prod(len(values) for _, values in settings if isinstance(values, tuple) and values)
    seeds = config.surrogate.members if name == "mascing" else getattr(settings, "search_seeds", 1)
    return ceil(grid * seeds)


def _selecting(config: RunConfig, candidates: int, masks: int, conversations: int) -> int:
    """The replies of the selection, which judges picks and control on all of dev though that exceeds its budget."""
    budget = Budget(candidates * conversations, racing=config.selection.mode == "racing")
    whole = masks * conversations
    return budget.total if budget.total >= whole else budget.full + whole


def _changed(config: RunConfig, rows: Rows, name: str) -> int:
    """The replies of one mask to a set under all changed conditions; live, earlier exchanges are answered as well."""
    changed, conversations = config.robustness, min(config.robustness.conversations, rows.sets["test"][name])
    further = len(changed.system_prompts) + len(changed.temperatures)
    conditions = changed.paraphrase + further + (changed.earlier_exchanges > 0)
    earlier = changed.earlier_exchanges if config.generation.turns == "live" else 0
    once = min(conversations * rows.most_replies[name], rows.replies["test"][name])
    return conditions * once + earlier * conversations


def _spread(replies: int, sets: Counter[str]) -> dict[str, float]:
    """Replies spread over sets by their sizes."""
    return {name: replies * count / sets.total() for name, count in sets.items()}
