"""The settings of each method that makes masks: its grid, its schedule, its budget."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticKnownError

from mascing.schemas.base import Frozen
from mascing.schemas.settings.plugged import Plugged

Span = Literal["question", "question+prompt", "reply"]
ExpertScore = Literal["risk_difference", "odds_ratio"]
Pairs = Literal["matched", "group"]
Positive = Annotated[float, Field(gt=0)]


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands there twice: write each value once")
    return values


_Value = TypeVar("_Value")
Grid = Annotated[tuple[_Value, ...], Field(min_length=1), AfterValidator(_each_once)]
"""The values of one setting that a method's cells take, each once."""
SearchSeeds = Annotated[int, Field(gt=0, le=100, description="searches that differ only in their seeds")]
LEAST_GENERATIONS = 64
"""Minimum generations in a round of `active`."""
_NAME = r"[a-z][a-z0-9_-]*"
# Names that tables and files of a stage use beside those of methods.
_TAKEN = ("attribution", "baseline")


class MascingConfig(Frozen):
    """The paper's search: the grid of lambda x alpha for each span, through each surrogate of `surrogate.members`."""

    spans: Grid[Span] = Field(default=("question", "question+prompt"))
    mode: Literal["fast", "exact"] = Field(
        default="fast", description="exact: the paper's search step for step; fast: its objective in fewer steps"
    )
    search_epochs: int = Field(default=100, gt=0, description="exact mode only")
    learning_rate: Positive = Field(default=0.05, description="exact mode only")
    lambdas: Grid[Annotated[float, Field(ge=0)]] = Field(default=(0.0, 1e-5, 1e-4, 1e-3))
    alphas: Grid[Positive] = Field(default=(0.5, 1.0, 2.0, 3.0, 4.5, 6.0))
    thresholds: Grid[Annotated[float, Field(ge=0)]] = Field(
        default=(0.1,), description="each cell sets entries of S up to this size to 0"
    )


class ConsensusConfig(Frozen):
    """The activation pattern that all surrogates agree on: the grid of share x alpha for each span."""

    spans: Grid[Span] = Field(default=("question+prompt",))
    shares: Grid[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=(0.03, 0.1, 0.2, 0.4, 1.0), description="shares of all experts that a mask moves"
    )
    alphas: Grid[Positive] = Field(
        default=(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5),
        description="strengths: root mean square of a mask's entries in sigmas",
    )


class SteerMoEConfig(Frozen):
    """The risk-difference search: the numbers of activated and deactivated experts in the whole model.

    A 0 in ``n_activated`` adds cells that only deactivate; a 0 in ``n_deactivated`` adds cells that only activate.
    """

    spans: Grid[Span] = Field(default=("question+prompt",))
    scores: Grid[ExpertScore] = Field(
        default=("risk_difference",), description="scores that rank experts; the paper's is the default"
    )
    pairs: Pairs = Field(
        default="matched",
        description="matched: the pairs of behaviour.matching; group: only pairs about the same question",
    )
    n_activated: Grid[Annotated[int, Field(ge=0)]] = Field(default=(0, 2, 4, 8))
    n_deactivated: Grid[Annotated[int, Field(ge=0)]] = Field(default=(0, 2, 4, 8))
    max_activated_per_layer: int | None = Field(default=None, gt=0, description="never more than top-k")
    max_deactivated_per_layer: int | None = Field(
        default=None, gt=0, description="always leaves top-k experts selectable"
    )
    epsilon: Positive = 1e-2

    @model_validator(mode="after")
    def _some_cell_does_something(self) -> "SteerMoEConfig":
        if not any((*self.n_activated, *self.n_deactivated)):
            raise ValueError("n_activated and n_deactivated are 0 in every cell: give one of them a positive number")
        return self


class GradientConfig(Frozen):
    """Gradient descent on the model: margin of wanted over unwanted reply, with an L1 and a utility term."""

    steps: int = Field(default=60, gt=0)
    batch_size: int = Field(default=24, gt=0, description="conversations of each kind per step")
    learning_rate: Positive = 0.05
    l1: Grid[Annotated[float, Field(ge=0)]] = Field(default=(1e-2, 1e-3))
    utility_weight: float = Field(default=1.0, ge=0)
    noise: float = Field(
        default=0.5,
        ge=0,
        description="noise on the router logits at the first step, in sigma; falls to 0 at half way",
    )
    alphas: Grid[Positive] = Field(default=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5))
    search_seeds: SearchSeeds = 3


class RefinedConfig(GradientConfig):
    """`gradient` from where the routing of the two classes differs, in place of 0."""

    start: Positive = Field(default=0.5, description="scale of the start: 1 is the whole difference of the logits")


class ActiveConfig(Frozen):
    """Rounds of trials under proposed masks, without gradients; each round learns from verdicts and traces so far.

    ``budget`` counts every reply that the search generates and judges, over all rounds; each search seed has its own.
    """

    budget: int = Field(default=1500, gt=0, description="maximum generations, divided evenly among the rounds")
    rounds: int = Field(default=6, gt=0, description="many small rounds learn more than a few large ones")
    members: int = Field(default=3, gt=0, description="surrogates in the ensemble; each proposes one mask per round")
    traces: int = Field(
        default=1000, gt=0, description="maximum unsteered traces to learn from, drawn at random beside the trials"
    )
    steps: int = Field(default=100, gt=0, description="steps to fit a surrogate, and to search through it")
    l1: Grid[Annotated[float, Field(ge=0)]] = Field(
        default=(0.02, 0.05), description="weights of |S|_1; proposals in rounds use the first"
    )
    alphas: Grid[Positive] = Field(
        default=(1.0, 2.0, 3.0), description="strengths: root mean square of a mask's entries in sigmas"
    )
    search_seeds: SearchSeeds = 1

    @model_validator(mode="after")
    def _budget_suffices(self) -> "ActiveConfig":
        least = self.rounds * LEAST_GENERATIONS
        if self.budget < least:
            raise ValueError(
                f"a budget of {self.budget} generations is too small for {self.rounds} rounds: a round needs at least "
                f"{LEAST_GENERATIONS} to learn anything; raise budget to {least} or lower rounds"
            )
        return self

    def generations_of(self, number: int) -> int:
        """Generations of round ``number``, counted from 0; the sum over all rounds is exactly the budget."""
        return self.budget * (number + 1) // self.rounds - self.budget * number // self.rounds


class RandomConfig(Frozen):
    """The control: the best selected mask with its entries shuffled."""


class PluggedMethod(Plugged):
    """A method of the user's own, named in the configuration."""

    @model_validator(mode="before")
    @classmethod
    def _says_where_it_is(cls, value: Any) -> Any:
        # A name without `kind` is a misspelt built-in method or unknown: the error is an unknown key in both cases.
        if isinstance(value, PluggedMethod) or (isinstance(value, dict) and "kind" in value):
            return value
        raise PydanticKnownError("extra_forbidden")


class MethodsConfig(Frozen):
    """The methods to run; `null` turns one off.

    `random` is always on, because no method is reported without the control. Any other name is a method of the user's
    own; its `kind` says where to find it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PluggedMethod] = Field(init=False)

    mascing: MascingConfig | None = MascingConfig()
    consensus: ConsensusConfig | None = ConsensusConfig()
    steermoe: SteerMoEConfig | None = SteerMoEConfig()
    gradient: GradientConfig | None = GradientConfig()
    refined: RefinedConfig | None = RefinedConfig()
    active: ActiveConfig | None = ActiveConfig()
    random: RandomConfig = RandomConfig()

    @model_validator(mode="after")
    def _one_at_least(self) -> "MethodsConfig":
        if not self.searched:
            raise ValueError(
                "at least one of mascing, consensus, steermoe, gradient, refined and active must be on, or a method of "
                "your own"
            )
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
        """The settings of every enabled method by name, without the control, which searches nothing."""
        return {name: settings for name, settings in self if name != "random" and settings is not None}

    @property
    def surrogate_spans(self) -> tuple[Span, ...]:
        """The spans that surrogates are trained for: those of `mascing`, then those that `consensus` adds."""
        searched = (settings.spans for settings in (self.mascing, self.consensus) if settings is not None)
        return tuple(dict.fromkeys(span for spans in searched for span in spans))

    @property
    def contrasted_spans(self) -> tuple[Span, ...]:
        """The spans in which experts of the two classes are compared: those of surrogates and of `steermoe`."""
        listed = () if self.steermoe is None else self.steermoe.spans
        return tuple(dict.fromkeys((*self.surrogate_spans, *listed)))

    @property
    def spans(self) -> frozenset[Span]:
        """Every span that an enabled method reads."""
        return frozenset(span for settings in self.searched.values() for span in getattr(settings, "spans", ()))
