"""The teacher-forced margin: what a mask does to given replies, from prefills alone.

No reply is generated, so it costs about as much as reading the conversations. It does not replace a judged reply: it
tells which masks are worth one.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil, exp, tanh
from statistics import fmean

import torch

from mascing.engines.likelihood import ReplyBatch, reply_batches
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer


@dataclass(frozen=True)
class Forced:
    """Nats under one mask, a value a conversation: log p(wanted) - log p(unwanted) of the target set, log p(wanted) of
    each other set. Sets whose conversations come without such replies are missing."""

    margins: Sequence[float]
    kept: Mapping[str, Sequence[float]]


def forced_batches(
    loaded: Loaded, conversations: Sequence[Conversation], batch_size: int
) -> dict[str, list[ReplyBatch]]:
    """The given replies to ``conversations`` by set: wanted and unwanted ones of the target set, else wanted ones."""
    asked: dict[str, list[tuple[Conversation, tuple[str, ...]]]] = {}
    for one in conversations:
        replies = (one.wanted, one.unwanted) if one.set == "target" else (one.wanted,)
        given = tuple(reply for reply in replies if reply)
        if len(given) == len(replies):
            asked.setdefault(one.set, []).append((one, given))
    return {name: reply_batches(loaded, rows, batch_size) for name, rows in asked.items()}


def forced(loaded: Loaded, batches: Mapping[str, Sequence[ReplyBatch]], mask: Mask | None) -> Forced:
    """The likelihoods of the replies in ``batches`` under ``mask``; None is the model as it is."""
    margins: list[float] = []
    kept: dict[str, list[float]] = {}
    with steer(loaded.model, mask) if mask is not None else nullcontext(), torch.inference_mode():
        for name, found in batches.items():
            for batch in found:
                likelihood_B = batch.log_likelihood(loaded.model)
                if name == "target":
                    wanted_B, unwanted_B = likelihood_B.chunk(2)
                    margins += (wanted_B - unwanted_B).tolist()
                else:
                    kept.setdefault(name, []).extend(likelihood_B.tolist())
    return Forced(margins, kept)


def forced_rates(baseline: Forced, steered: Forced) -> dict[str, float]:
    """What the likelihoods foretell, by set, as rates from 0 to 1.

    Of the target set, how likely the wanted reply is of the two; of each other set, what is left of the likelihood
    that the unsteered model gives the wanted reply, at most all of it.
    """
    rates = {
        name: fmean(
            min(1.0, exp(min(0.0, after - before))) for before, after in zip(befores, steered.kept[name], strict=True)
        )
        for name, befores in baseline.kept.items()
    }
    if steered.margins:
        rates["target"] = fmean(0.5 + 0.5 * tanh(margin / 2) for margin in steered.margins)
    return rates


# What a point lost elsewhere may be worth in points of the target: from nothing to more than most gains.
_PRICES = (0.0, 0.25, 1.0, 4.0)


def contenders(rates: Sequence[Mapping[str, float]], keep: int) -> list[int]:
    """The most promising of one method's cells, given their forced rates; in the order of the grid.

    At most ``keep`` and no more than a quarter of the grid, but two.

    What a loss elsewhere is worth is for judged replies to say. So cells are taken in turn that are best when a lost
    point costs nothing, a quarter of a point of the target, a point, and so on: this walks along the trade-off from the
    strongest cell to a careful one. Where no margin is known, all are promising.
    """
    if not all("target" in one for one in rates):
        return list(range(len(rates)))
    chosen: list[int] = []
    while len(chosen) < min(keep, max(2, ceil(len(rates) / 4)), len(rates)):
        price = _PRICES[len(chosen) % len(_PRICES)]
        rest = [cell for cell in range(len(rates)) if cell not in chosen]
        chosen.append(max(rest, key=lambda cell: rates[cell]["target"] - price * worst_loss(rates[cell])))
    return sorted(chosen)


def worst_loss(rates: Mapping[str, float]) -> float:
    """By how much the worst of the kept sets' forced rates falls; 0 where none is known."""
    return 1 - min((value for name, value in rates.items() if name != "target"), default=1.0)
