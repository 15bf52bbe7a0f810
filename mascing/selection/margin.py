"""The teacher-forced margin: the effect of a mask on given replies, from prefills alone.

It generates no reply, so it costs about as much as reading the conversations. It does not replace judged replies, but
shows which masks are worth judging.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil, exp, isfinite, tanh
from statistics import fmean

import torch

from mascing.engines.likelihood import Replies, ReplyBatch, ReplyBatches
from mascing.errors import DataError
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer


@dataclass(frozen=True)
class Forced:
    """Log likelihoods of given replies under one mask, in nats, one value per conversation.

    ``margins`` are log p(wanted) - log p(unwanted) of the target set; ``kept`` are log p(wanted) of each other set.
    Sets whose conversations have no such replies are missing.
    """

    margins: Sequence[float]
    kept: Mapping[str, Sequence[float]]

    def __add__(self, later: "Forced") -> "Forced":
        """The likelihoods on the conversations of both, those of ``later`` after these."""
        kept = {
            name: [*self.kept.get(name, ()), *later.kept.get(name, ())]
            for name in dict.fromkeys([*self.kept, *later.kept])
        }
        return Forced([*self.margins, *later.margins], kept)


def forced_batches(
    loaded: Loaded, conversations: Sequence[Conversation], batch_size: int
) -> dict[str, list[ReplyBatch]]:
    """Batch the given replies to ``conversations`` by set: wanted and unwanted for the target set, else only wanted."""
    by_set: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        if _given(conversation) is not None:
            by_set.setdefault(conversation.set, []).append(conversation)
    return {name: list(ReplyBatches(loaded, rows, _given, batch_size)) for name, rows in by_set.items()}


def _given(conversation: Conversation) -> Replies | None:
    """Return the replies of the conversation that are read, None if one of them is missing."""
    needed = (conversation.wanted, conversation.unwanted) if conversation.set == "target" else (conversation.wanted,)
    replies = tuple(reply for reply in needed if reply)
    return replies if len(replies) == len(needed) else None


def forced(loaded: Loaded, batches: Mapping[str, Sequence[ReplyBatch]], mask: Mask | None) -> Forced:
    """Return the likelihoods of the replies in ``batches`` under ``mask``; None is the unsteered model."""
    margins: list[float] = []
    kept: dict[str, list[float]] = {}
    with steer(loaded.model, mask) if mask is not None else nullcontext(), torch.inference_mode():
        for name, set_batches in batches.items():
            for batch in set_batches:
                likelihood_B = batch.log_likelihood(loaded.model)
                if name == "target":
                    wanted_B, unwanted_B = likelihood_B.chunk(2)
                    margins += (wanted_B - unwanted_B).tolist()
                else:
                    kept.setdefault(name, []).extend(likelihood_B.tolist())
    return Forced(margins, kept)


def forced_rates(baseline: Forced, steered: Forced) -> dict[str, float]:
    """Turn the likelihoods into predicted rates from 0 to 1, by set.

    For the target set, this is the probability of the wanted reply out of the two. For each other set, it is the
    likelihood of the wanted reply relative to the unsteered model, at most 1. A likelihood that is no finite number
    counts as 0 under a mask. Raises DataError if the unsteered model gives one.
    """
    for name, likelihoods in {"target": baseline.margins, **baseline.kept}.items():
        if not all(map(isfinite, likelihoods)):
            raise DataError(
                f"the unsteered model gives a reply of set {name} a likelihood that is no finite number: "
                "its weights or `model.dtype` do not fit; run `mascing doctor`, or load it as float32"
            )
    rates = {
        name: fmean(_kept(before, after) for before, after in zip(befores, steered.kept[name], strict=True))
        for name, befores in baseline.kept.items()
    }
    if steered.margins:
        rates["target"] = fmean(map(_chance, steered.margins))
    return rates


def _kept(before: float, after: float) -> float:
    """What a mask leaves of the likelihood of a reply."""
    return exp(min(0.0, after - before)) if isfinite(after) else 0.0


def _chance(margin: float) -> float:
    """The probability of the wanted reply out of the two."""
    return 0.5 + 0.5 * tanh(margin / 2) if isfinite(margin) else 0.0


# The price of a point lost elsewhere, in points of the target: from nothing to more than most gains.
_PRICES = (0.0, 0.25, 1.0, 4.0)


def foretells(rates: Sequence[Mapping[str, float]]) -> bool:
    """Return whether there is a margin: without wanted and unwanted replies, no forced rate of the target is known."""
    return all("target" in cell_rates for cell_rates in rates)


def places_for(cells: int, keep: int) -> int:
    """Return how many cells of a grid of ``cells`` may enter: ``keep``, a quarter of the grid, or at least two."""
    return min(keep, max(2, ceil(cells / 4)))


def contenders(rates: Sequence[Mapping[str, float]], places: int, seeds: Sequence[int] = ()) -> list[int]:
    """Return the most promising cells of one method by their forced rates, in the order of the grid.

    These are the ``places`` first of `promising`. ``seeds`` says which search seed found each cell; of each, the best
    cell at an even price is among them too, so that the seeds can be compared. If a margin is missing, it returns all
    cells.
    """
    if not foretells(rates):
        return list(range(len(rates)))
    chosen = promising(rates, places)
    for seed in sorted(set(seeds)):
        cells = [cell for cell in range(len(rates)) if seeds[cell] == seed]
        chosen.append(max(cells, key=lambda cell: _worth(rates[cell], price=1.0)))
    return sorted(set(chosen))


def promising(rates: Sequence[Mapping[str, float]], most: int) -> list[int]:
    """Return up to ``most`` cells, the most promising first.

    Only judged replies can tell how much a loss elsewhere matters. So the function takes in turn the best cell at each
    price of a lost point: nothing, a quarter of a point of the target, a point, and so on. This follows the trade-off
    from the strongest cell to a careful one.
    """
    chosen: list[int] = []
    while len(chosen) < min(most, len(rates)):
        price = _PRICES[len(chosen) % len(_PRICES)]
        rest = [cell for cell in range(len(rates)) if cell not in chosen]
        chosen.append(max(rest, key=lambda cell: _worth(rates[cell], price)))
    return chosen


def _worth(rates: Mapping[str, float], price: float) -> float:
    return rates["target"] - price * worst_loss(rates)


def worst_loss(rates: Mapping[str, float]) -> float:
    """Return the largest fall of a kept set's forced rate; 0 if no rate is known."""
    return 1 - min((value for name, value in rates.items() if name != "target"), default=1.0)
