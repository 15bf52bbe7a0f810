"""What each method that makes masks is told: its grid, its schedule, its budget."""

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticKnownError

from mascing.schemas.base import Frozen
from mascing.schemas.plugged import Plugged

Span = Literal["question", "question+prompt", "reply"]
ExpertScore = Literal["risk_difference", "odds_ratio"]
Pairs = Literal["matched", "group"]
Positive = Annotated[float, Field(gt=0)]
LEAST_GENERATIONS = 64
"""Of a round of `active`."""
_NAME = r"[a-z][a-z0-9_-]*"
# Names of what stands beside the methods in tables and among the files of a stage.
_TAKEN = ("attribution", "baseline")


class MascingConfig(Frozen):
    """The paper's search: the lambda x alpha grid, for each span."""

    spans: tuple[Span, ...] = Field(default=("question", "question+prompt"), min_length=1)
    mode: Literal["fast", "exact"] = Field(
        default="fast", description="exact: the paper's search step for step; fast: its objective in fewer steps"
    )
    search_epochs: int = Field(default=100, gt=0, description="of the exact mode")
    learning_rate: Positive = Field(default=0.05, description="of the exact mode")
    lambdas: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0, 1e-5, 1e-4, 1e-3), min_length=1)
    alphas: tuple[Positive, ...] = Field(default=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), min_length=1)
    thresholds: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(0.1,), min_length=1, description="entries of S up to this size become 0, for each cell"
    )


class SteerMoEConfig(Frozen):
    """The risk-difference search: how many experts are activated and deactivated, over the whole model.

    A 0 among ``n_activated`` makes cells that deactivate only, a 0 among ``n_deactivated`` cells that activate only.
    """

    spans: tuple[Span, ...] = Field(default=("question+prompt",), min_length=1)
    scores: tuple[ExpertScore, ...] = Field(
        default=("risk_difference",), min_length=1, description="what experts are ranked by; the paper's is the first"
    )
    pairs: Pairs = Field(
        default="matched",
        description="matched: the pairs that behaviour.matching makes; group: only pairs about one question",
    )
    n_activated: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 2, 4, 8), min_length=1)
    n_deactivated: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 2, 4, 8), min_length=1)
    max_activated_per_layer: int | None = Field(default=None, gt=0, description="top-k holds in any case")
    max_deactivated_per_layer: int | None = Field(
        default=None, gt=0, description="top-k experts stay selectable in any case"
    )
    epsilon: Positive = 1e-2

    @model_validator(mode="after")
    def _some_cell_does_something(self) -> "SteerMoEConfig":
        if not any((*self.n_activated, *self.n_deactivated)):
            raise ValueError("n_activated and n_deactivated are 0 in every cell: give one of them a positive number")
        return self


class GradientConfig(Frozen):
    """Descent on the model itself: margin of wanted over unwanted reply, with an L1 and a utility term."""

    steps: int = Field(default=60, gt=0)
    batch_size: int = Field(default=24, gt=0, description="conversations of each kind a step")
    learning_rate: Positive = 0.05
    l1: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(1e-2, 1e-3), min_length=1)
    utility_weight: float = Field(default=1.0, ge=0)
    noise: float = Field(
        default=0.5, ge=0, description="noise on the router logits at the first step, in sigma; falls to 0 at half way"
    )
    alphas: tuple[Positive, ...] = Field(default=(0.5, 1.0, 1.5), min_length=1)


class ActiveConfig(Frozen):
    """Rounds of trials under proposed masks, each round's verdicts and traces teaching the next; no gradient is needed.

    ``budget`` counts every reply that is generated and judged for the search, of all rounds together.
    """

    budget: int = Field(default=1500, gt=0, description="generations, at most; shared out evenly over the rounds")
    rounds: int = Field(default=6, gt=0, description="many small ones learn more than a few large ones")
    members: int = Field(default=3, gt=0, description="surrogates of the ensemble; each proposes a mask a round")
    steps: int = Field(default=100, gt=0, description="steps of each fit of a surrogate and of each search through it")
    l1: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(0.02, 0.05), min_length=1, description="weights of |S|_1; rounds propose with the first"
    )
    alphas: tuple[Positive, ...] = Field(
        default=(1.0, 2.0, 3.0), min_length=1, description="strengths: root mean square of a mask's entries in sigmas"
    )

    @model_validator(mode="after")
    def _budget_suffices(self) -> "ActiveConfig":
        least = self.rounds * LEAST_GENERATIONS
        if self.budget < least:
            raise ValueError(
                f"a budget of {self.budget} generations is too small for {self.rounds} rounds: one that teaches "
                f"anything takes {LEAST_GENERATIONS}; raise budget to {least} or lower rounds"
            )
        return self

    def generations_of(self, number: int) -> int:
        """Generations of a round, counted from 0: all rounds together make up the budget exactly."""
        return self.budget * (number + 1) // self.rounds - self.budget * number // self.rounds


class RandomConfig(Frozen):
    """The control: the best selected mask with its entries shuffled."""


class PluggedMethod(Plugged):
    """A method of the user's own, under the name that the configuration gives it."""

    @model_validator(mode="before")
    @classmethod
    def _says_where_it_is(cls, value: Any) -> Any:
        # Without `kind` the name is a built-in one misspelt, or nobody knows what it is: an unknown key either way.
        if isinstance(value, PluggedMethod) or (isinstance(value, dict) and "kind" in value):
            return value
        raise PydanticKnownError("extra_forbidden")


class MethodsConfig(Frozen):
    """The methods to run; `null` leaves one out. `random` is never left out: no method is reported without it.

    Any further name is a method of the user's own, which `kind` says where to find.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PluggedMethod] = Field(init=False)

    mascing: MascingConfig | None = MascingConfig()
    steermoe: SteerMoEConfig | None = SteerMoEConfig()
    gradient: GradientConfig | None = GradientConfig()
    active: ActiveConfig | None = ActiveConfig()
    random: RandomConfig = RandomConfig()

    @model_validator(mode="after")
    def _one_at_least(self) -> "MethodsConfig":
        if not self.searched:
            raise ValueError("at least one of mascing, steermoe, gradient and active must be on")
        return self

    @model_validator(mode="after")
    def _names_are_free_and_plain(self) -> "MethodsConfig":
        for name in self.plugged:
            if name in _TAKEN or not re.fullmatch(_NAME, name):
                raise ValueError(f"a method cannot be named {name!r}: take another name that matches {_NAME}")
        return self

    @property
    def plugged(self) -> dict[str, PluggedMethod]:
        """The user's own methods by name."""
        return self.__pydantic_extra__

    @property
    def searched(self) -> dict[str, Frozen]:
        """The settings of every method that is on, by name; the control, which searches nothing, is none of them."""
        return {name: settings for name, settings in self if name != "random" and settings is not None}

    @property
    def spans(self) -> frozenset[Span]:
        """Every span that a method looks at."""
        return frozenset(span for settings in self.searched.values() for span in getattr(settings, "spans", ()))
