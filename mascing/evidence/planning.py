"""Compute for `mascing plan` how many conversations a mask of a given effect needs to pass its gates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from mascing.errors import ConfigError
from mascing.schemas.config import SplitConfig
from mascing.statistics.power import MOST, Effect, conversations_needed


@dataclass(frozen=True)
class Question:
    """The assumed effect, the gates it must pass, and how often; all as shares of 1."""

    uplift: float
    baseline: float
    power: float
    correlation: float
    lost: float
    utility_lost: float
    min_uplift: float
    max_loss: float

    def __post_init__(self) -> None:
        """Raise ConfigError if no mask could have the assumed effect."""
        room = 1 - self.baseline
        if self.uplift + self.lost > room + 1e-9:
            raise ConfigError(
                f"an uplift of {self.uplift:g} with {self.lost:g} lost turns {self.uplift + self.lost:g} of all "
                f"conversations into hits, but at a baseline of {self.baseline:g} only {room:g} are misses: "
                "lower --uplift, --lost or --baseline"
            )
        if self.lost > self.baseline:
            raise ConfigError(f"a mask cannot lose {self.lost:g} of a baseline of {self.baseline:g}: lower --lost")
        if self.uplift <= self.min_uplift:
            raise ConfigError(
                f"a true uplift of {self.uplift:g} is not above min_uplift {self.min_uplift:g}, so no number of "
                "conversations shows it: lower --min-uplift or look for a stronger mask"
            )
        if self.utility_lost >= self.max_loss:
            raise ConfigError(
                f"a true loss of {self.utility_lost:g} is not below the limit {self.max_loss:g}, so no number of "
                "conversations passes it: raise --max-loss or look for a milder mask"
            )

    def target_conversations(self, group_size: int) -> int | None:
        """Return the target conversations needed in the test split; None if more than MOST."""
        effect = Effect(self.uplift + self.lost, self.lost, group_size, self.correlation)
        return conversations_needed(effect, self.min_uplift, self.power)

    def kept_conversations(self, group_size: int) -> int | None:
        """Return the conversations needed of each utility and protected set; None if more than MOST."""
        effect = Effect(0.0, self.utility_lost, group_size, self.correlation)
        return conversations_needed(effect, -self.max_loss, self.power)


def answers(question: Question, group_size: int, group_sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the answer: the question, a table by group size, and the conversations to write."""
    yield (
        f"To show {_points(question.uplift)} points of uplift, of which {_points(question.min_uplift)} must be sure, "
        f"with power {question.power:.0%}:"
    )
    yield ""
    yield f"{'group size':>12}{'target':>10}{'groups':>10}{'each utility or protected set':>33}"
    needed = {size: (question.target_conversations(size), question.kept_conversations(size)) for size in group_sizes}
    for size, (target, kept) in needed.items():
        mark = "  <" if size == group_size else ""
        groups = "-" if target is None else str(ceil(target / size))
        yield f"{size:>12}{_count(target):>10}{groups:>10}{_count(kept):>33}{mark}"
    yield ""
    yield (
        f"baseline {question.baseline:.0%}, {question.lost:.0%} of the target and {question.utility_lost:.0%} of the "
        f"other sets lost, correlation {question.correlation:g} within groups; conversations of the test split, by "
        "simulation of its gates (within about 3%)"
    )
    yield _next(*needed[group_size], group_size)


def _next(target: int | None, kept: int | None, group_size: int) -> str:
    if target is None or kept is None:
        return (
            f"next: more than {MOST} conversations would be needed: leave more room between the effect and its gate, "
            "or use smaller groups"
        )
    share = SplitConfig().test
    return (
        f"next: write at least {ceil(target / share)} target conversations and {ceil(kept / share)} of each other set, "
        f"in groups of {group_size}: the test split gets {share:.0%} of the groups"
    )


def _count(conversations: int | None) -> str:
    return f"> {MOST}" if conversations is None else str(conversations)


def _points(share: float) -> str:
    return f"{100 * share:+g}"
