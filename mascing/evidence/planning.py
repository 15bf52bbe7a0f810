"""Compute for `mascing plan` how many conversations a mask of a given effect needs to pass its gates."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from mascing.errors import ConfigError
from mascing.schemas.config import GatesConfig, SplitConfig
from mascing.statistics import rate
from mascing.statistics.power import CORRELATION, MOST, POWER, Effect, conversations_needed, fewest

BASELINE = 0.5
"""Target rate of the unsteered model that is assumed while it is unknown."""
_BEYOND = 0.1
"""The uplift that is assumed of a mask beyond the one that its gate asks for."""
_DEFAULT = GatesConfig()


@dataclass(frozen=True)
class Question:
    """The assumed effect, the gates it must pass, and how often; all as shares of 1.

    ``min_baseline`` is the floor that a utility or protected set must reach to show a loss. ``known`` says whether the
    baseline is that of the model; else it is assumed.
    """

    uplift: float
    baseline: float = BASELINE
    power: float = POWER
    correlation: float = CORRELATION
    lost: float = 0.0
    utility_lost: float = 0.0
    min_uplift: float = _DEFAULT.min_uplift
    max_loss: float = _DEFAULT.max_utility_loss
    min_baseline: float = _DEFAULT.min_baseline
    known: bool = True

    def refuse_impossible(self) -> None:
        """Raise ConfigError if no mask could have the assumed effect, or none with it could pass."""
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
        """Return the conversations needed of each utility and protected set; None if more than MOST.

        They are enough to pass the gate, and for a model without a mistake to be surely above the floor.
        """
        effect = Effect(0.0, self.utility_lost, group_size, self.correlation)
        needed = (conversations_needed(effect, -self.max_loss, self.power), self._mastered(group_size))
        return None if None in needed else max(filter(None, needed))

    def _mastered(self, group_size: int) -> int | None:
        floor = 0.0 if self.max_loss >= 1 else max(self.max_loss, self.min_baseline)

        def enough(n: int) -> bool:
            return rate(["hit"] * n, [str(number // group_size) for number in range(n)]).low >= floor

        return fewest(enough, group_size)


def question_of(
    gates: GatesConfig, baseline: float | None = None, uplift: float | None = None, lost: float = 0.0, **others: float
) -> Question:
    """The question of a run: whether a mask that does a little more than its gates ask for passes them.

    ``baseline`` is the target rate of the unsteered model; unknown, it is assumed to leave room for the uplift.
    ``others`` are further fields of `Question`. ``max_loss`` is that of utility sets.
    """
    gained = uplift if uplift is not None else gates.min_uplift + _BEYOND
    rate = baseline if baseline is not None else max(lost, min(BASELINE, 1 - gained - lost))
    return Question(
        uplift=gained if uplift is not None else max(0.0, min(gained, 1 - rate - lost)),
        baseline=rate,
        known=baseline is not None,
        lost=lost,
        min_uplift=gates.min_uplift,
        max_loss=gates.max_utility_loss,
        min_baseline=gates.min_baseline,
        **others,
    )


def size_of_groups(groups: Sequence[str]) -> int:
    """The size of equal groups that tell as little as these: the mean over conversations, as Kish's design effect."""
    sizes = Counter(groups).values()
    return max(1, round(sum(size * size for size in sizes) / len(groups)))


def answers(question: Question, group_size: int, group_sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the answer: the question, a table by group size, and the conversations to write."""
    yield (
        f"To show {_points(question.uplift)} points of uplift, of which {_points(question.min_uplift)} must be sure, "
        f"with power {question.power:.0%}:"
    )
    yield ""
    yield f"{'group size':>12}{'target':>10}{'groups':>10}{'each other set':>18}"
    needed = {size: (question.target_conversations(size), question.kept_conversations(size)) for size in group_sizes}
    for size, (target, kept) in needed.items():
        mark = "  <" if size == group_size else ""
        groups = "-" if target is None else str(ceil(target / size))
        yield f"{size:>12}{_count(target):>10}{groups:>10}{_count(kept):>18}{mark}"
    yield ""
    assumed = "" if question.known else " (assumed)"
    yield (
        f"baseline {question.baseline:.0%}{assumed}, {question.lost:.0%} of the target and "
        f"{question.utility_lost:.0%} of the other sets lost, correlation {question.correlation:g} within groups; "
        "conversations of the test split, by simulation of its gates (within about 3%)"
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
