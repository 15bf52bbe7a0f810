"""The cost of a search for masks."""

from collections.abc import Iterable

from pydantic import Field

from mascing.schemas.base import Frozen


class Passes(Frozen):
    """Passes of batches through the model, and the conversations in a full batch.

    ``forward`` does not count layers recomputed to save memory: that is placement and changes no mask.
    """

    forward: int = Field(ge=0)
    backward: int = Field(ge=0)
    conversations: int = Field(gt=0)

    def __str__(self) -> str:
        return f"{self.forward} forward and {self.backward} backward passes of {self.conversations} conversations"


class Round(Frozen):
    """One round of trials: their number, and the shares of hits among conversations to change and to keep."""

    generations: int = Field(ge=0)
    changed: float = Field(ge=0, le=1)
    kept: float | None = Field(ge=0, le=1)


class Trials(Frozen):
    """Replies that a search generated and judged: the budget, the total, and each round."""

    budget: int = Field(gt=0)
    generations: int = Field(ge=0)
    rounds: tuple[Round, ...]


class SearchCost(Frozen):
    """The cost of a search beyond reading traces; None for a kind of cost that it does not have."""

    passes: Passes | None = None
    trials: Trials | None = None

    @classmethod
    def of_all(cls, costs: Iterable["SearchCost"]) -> "SearchCost":
        """The sum of the costs of one method's searches."""
        costs = list(costs)
        passes = [cost.passes for cost in costs if cost.passes is not None]
        trials = [cost.trials for cost in costs if cost.trials is not None]
        return cls(
            passes=Passes(
                forward=sum(part.forward for part in passes),
                backward=sum(part.backward for part in passes),
                conversations=max(part.conversations for part in passes),
            )
            if passes
            else None,
            trials=Trials(
                budget=sum(part.budget for part in trials),
                generations=sum(part.generations for part in trials),
                rounds=tuple(number for part in trials for number in part.rounds),
            )
            if trials
            else None,
        )
