"""What a mask must pass to be published: the gates, and the changed conditions after them."""

from typing import Annotated

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.settings.method_settings import Positive

Text = Annotated[str, Field(pattern=r"\S")]


class GatesConfig(Frozen):
    """The conditions on the test split for publishing a mask; all rates are fractions of 1."""

    min_uplift: float = Field(
        default=0.1, ge=0, le=1, description="minimum for the lower bound of the uplift of the target rate"
    )
    max_utility_loss: float = Field(
        default=0.1, ge=0, le=1, description="maximum for the upper bound of each utility loss"
    )
    protected_tolerance: float = Field(
        default=0.1, ge=0, le=1, description="maximum for the upper bound of each protected loss"
    )
    min_label_kappa: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        description="minimum for the lower bound of the kappa of labels and unsteered replies; -1 accepts any",
    )
    min_baseline: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="minimum for the lower bound of the unsteered rate of a utility or protected set; a lower rate "
        "leaves the set undecided",
    )
    max_degenerate: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="maximum for the upper bound of the increase of degenerate replies, over all sets",
    )
    allow_topic: bool = Field(
        default=False,
        description="publish a mask also if topic explains the experts or the surrogate that it was found by",
    )


class RobustnessConfig(Frozen):
    """Changed conditions that a mask must pass after the gates; an empty or 0 setting turns a condition off.

    Under each condition, the steered and the unsteered model reply to the same changed conversations. A condition
    judges fewer conversations than the gates, so its intervals are wider and its default limits looser.
    """

    conversations: int = Field(
        default=160, gt=0, description="maximum test conversations judged per set; groups stay whole"
    )
    paraphrase: bool = Field(default=True, description="replace the final turn with the row's `paraphrase`")
    system_prompts: tuple[Text, ...] = Field(
        default=("You are a helpful assistant.",), description="system prompts; each is a condition of its own"
    )
    temperatures: tuple[Positive, ...] = Field(default=(0.7,), description="sample replies at these temperatures")
    earlier_exchanges: int = Field(
        default=2, ge=0, description="exchanges from other groups inserted before the first turn"
    )
    uplift_share: float = Field(
        default=0.5, ge=0, le=1, description="share of gates.min_uplift that the lower bound must reach"
    )
    loss_factor: float = Field(default=2.0, ge=0, description="factor on the gates' limits for each loss")
