"""The topic null: what splits by topic alone, and random splits, do to the experts and surrogates of a contrast."""

from typing import Literal

from mascing.schemas.base import Frozen


class Topics(Frozen):
    """The topics of the last requests of train and dev: their number, and the share of it that the classes have alike.

    ``overlap`` is 1 if both classes have the same topics equally often, 0 if they have none in common; ``by_chance`` is
    the least overlap of all but 5% of permuted labels. ``missing`` says why no topics were told apart, and is empty if
    they were.
    """

    count: int = 0
    overlap: float = 1.0
    by_chance: float = 0.0
    missing: str = ""


class Effects(Frozen):
    """Splits beside the behaviour, at the experts of the behaviour's list.

    ``below`` is the share of the listed experts, and ``of_effect`` that of their summed effect, which do not exceed the
    95% quantile of the splits at the same expert. ``own`` is the 95% quantile of the mean effect of each split's own
    list of that length, and ``weaker`` the share of the splits whose own list is weaker than the behaviour's.
    """

    splits: int
    below: float
    of_effect: float
    own: float
    weaker: float


class ListedExpert(Frozen):
    """An expert of the list: its risk difference, and the 95% quantile of the splits' differences in size.

    ``layer`` is the depth in the model. ``topic`` is None if there is no topic split.
    """

    layer: int
    expert: int
    risk_difference: float
    topic: float | None
    random: float


class ExpertNull(Frozen):
    """The strongest experts of a span by risk difference, beside splits by topic and at random.

    ``effect`` is their mean difference in size. ``topic`` is None if there is no topic split.
    """

    effect: float
    listed: tuple[ListedExpert, ...]
    topics: Topics
    topic: Effects | None
    random: Effects


class ScoreNull(Frozen):
    """How far a surrogate's score on dev tells topics apart within the classes, beside how it tells the classes apart.

    ``area`` is the area of the classes. ``topic`` is the 95% quantile of the areas of ``splits`` pairs of topics, each
    taken to the side on which it exceeds 0.5; None if there is no pair.
    """

    topics: Topics
    splits: int
    area: float
    topic: float | None


TopicState = Literal["clear", "explained", "unknown"]


class TopicCheck(Frozen):
    """Whether topic explains what the methods that compare the classes' routing learned from in a span.

    ``state`` is `explained` if it explains the strongest experts or the surrogate, or if the classes are about
    different topics; `unknown` if no split by topic can be made; else `clear`. ``sentences`` say it with the numbers.
    """

    state: TopicState
    sentences: tuple[str, ...]
