"""The race on dev: what each candidate showed, what pruning left of the picks, and what it all cost."""

from pydantic import JsonValue

from mascing.schemas.base import Frozen
from mascing.schemas.result import DevRates, SingleExpert


class DevCell(DevRates):
    """A candidate on dev: its cell, the rates that the prefill predicted, and the number of judged conversations.

    ``left`` says when and why it left the race ("margin" or "first look" if before it); it is empty for the pick.
    """

    method: str
    cell: dict[str, JsonValue]
    foretold: dict[str, float]
    judged: int
    left: str


class PrunedPick(Frozen):
    """Entries of a pick before and after pruning, its dev target rate before and after, and the replies judged.

    Both rates are on the conversations that the pick was judged on in the race. ``single`` holds the strongest entries
    of the pruned mask, at most eight, each alone; it is empty if there are no given replies to read or no effect.
    """

    entries: int
    kept: int
    target_rate: tuple[float, float]
    replies: int
    single: tuple[SingleExpert, ...] = ()


class SeedPick(DevRates):
    """The best cell of one search seed: its number among the method's cells, and its rates on dev.

    The rows of a method share the first ``judged`` conversations. ``foretold`` is the forced target rate, None if there
    are no given replies to read.
    """

    search_seed: int
    cell: int
    judged: int
    foretold: float | None = None


class SelectionCost(Frozen):
    """Replies judged in each part of the selection, those that the full grid needs, and tokens read by prefills.

    ``replies`` are those of the race and those that rank the picks of all methods. ``budget`` is the number of replies
    that all parts together may take.
    """

    replies: int
    replies_of_full_grid: int
    replies_of_control: int
    replies_of_pruning: int
    prefill_tokens: int
    budget: int

    @property
    def total(self) -> int:
        """Replies judged to race and rank, to prune the picks, and of the control."""
        return self.replies + self.replies_of_pruning + self.replies_of_control

    @property
    def share(self) -> float:
        """All replies judged, as a share of those of the full grid."""
        return self.total / self.replies_of_full_grid
