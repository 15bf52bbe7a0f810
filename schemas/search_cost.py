"""What a search for masks cost."""

from mascing.schemas.base import Frozen


class Passes(Frozen):
    """Passes of batches through the model, and the conversations of a full batch.

    What is computed again to save memory is not counted: it depends on where the search ran.
    """

    forward: int
    backward: int
    conversations: int

    def __str__(self) -> str:
        return f"{self.forward} forward and {self.backward} backward passes of {self.conversations} conversations"


class Round(Frozen):
    """One round of trials: its generations, and shares of hits among conversations to change and those to keep."""

    generations: int
    changed: float
    kept: float | None


class Trials(Frozen):
    """Judged replies that a search generated: how many it might have, how many it took, and how each round went."""

    budget: int
    generations: int
    rounds: tuple[Round, ...]


class SearchCost(Frozen):
    """The cost of one search; None where it made no passes with gradients, or no trials."""

    passes: Passes | None = None
    trials: Trials | None = None
