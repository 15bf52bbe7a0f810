"""The configuration of a campaign, and what it keeps of each cell: a model, a behaviour, a method and a seed."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.schemas.result import Gate, Rate

_BETWEEN = "--"
"""Stands between the parts of a run's name, and therefore in none of them."""


def _without_separator(name: str) -> str:
    if _BETWEEN in name:
        shorter = re.sub("-{2,}", "-", name)
        raise ValueError(f"{name} holds {_BETWEEN}, which stands between the parts of a run's name: write {shorter}")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60), AfterValidator(_without_separator)]
"""A name that can stand in a path, and from which the name of a run can be put together without a doubt."""

Part = dict[str, JsonValue]
"""Some of the settings of a run, as `run.yaml` has them."""


class PublishedNumber(Frozen):
    """What a paper reports of a model and a behaviour, as rates from 0 to 1; None where it reports nothing.

    Its conversations and judges may differ from those of the campaign.
    """

    model: Name | None = Field(default=None, description="null: the mean over all models")
    behaviour: Name
    method: str = Field(min_length=1, description="a method of the campaign, or the paper's name of another one")
    unsteered: float | None = Field(default=None, ge=0, le=1)
    steered: float | None = Field(default=None, ge=0, le=1)
    source: str = Field(min_length=1, description="the paper with its table")


class CampaignConfig(Frozen):
    """Models x behaviours x methods x seeds. What differs stands with its model or behaviour, the rest in `shared`.

    All three are parts of a `run.yaml`; where they name the same setting, a behaviour's goes before a model's, and a
    model's before the shared one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    models: dict[Name, Part] = Field(min_length=1, description="`model`, and any other setting of runs on it")
    behaviours: dict[Name, Part] = Field(
        min_length=1, description="`behaviour`, and any other setting of its runs; its name is by default the one here"
    )
    methods: dict[str, dict[str, JsonValue] | None] = Field(
        min_length=1, description="settings by method; `{}` are the defaults, and a method that is not named is off"
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    shared: Part = Field(default_factory=dict, description="settings of all runs")
    published: tuple[PublishedNumber, ...] = ()
    allow_failing_judges: bool = Field(
        default=False, description="start although a judge reads one of its canaries wrong"
    )

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> "CampaignConfig":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each seed once")
        for kind, parts in (("models", self.models), ("behaviours", self.behaviours), ("shared", {"": self.shared})):
            for name, part in parts.items():
                if own := sorted(part.keys() & {"methods", "seed"}):
                    where = f"{kind}.{name}" if name else kind
                    raise ValueError(f"{where}: {own[0]} cannot be set here: all runs have the methods and seeds above")
        return self

    @model_validator(mode="after")
    def _published_numbers_have_a_place(self) -> "CampaignConfig":
        for number in self.published:
            if number.behaviour not in self.behaviours or (number.model and number.model not in self.models):
                raise ValueError(f"published: the campaign has no {number.behaviour} on {number.model or 'any model'}")
        return self


class PlannedRun(Frozen):
    """A model, a behaviour and a seed, by their names in the campaign; all methods run on it."""

    model: str
    behaviour: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """One part of a path."""
        return _BETWEEN.join((self.model, self.behaviour, str(self.seed)))

    def __str__(self) -> str:
        return f"{self.behaviour} on {self.model}, seed {self.seed}"


class Campaign(Frozen):
    """A campaign with the configuration of each of its runs, those of a model one after the other."""

    config: CampaignConfig
    runs: tuple[PlannedRun, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of every run; the control is none."""
        return tuple(self.config.methods)


class GroupHits(Frozen):
    """The target conversations of a group on test: their number, and the hits of the unsteered and the steered model.

    An unscored reply is no hit.
    """

    group_id: str
    conversations: int = Field(gt=0)
    before: int = Field(ge=0)
    after: int = Field(ge=0)


class CellCost(Frozen):
    """What a method took in a run, beside what all its methods share: labels and traces.

    ``replies`` were generated and judged: to search, to select, to prune, on test and under changed conditions.
    ``tokens_per_reply`` is the mean length of its replies on test. ``judge_cost`` is what the judges of its replies on
    test took in USD, None if none of them has a price.
    """

    replies: int = Field(ge=0)
    tokens_per_reply: float | None = None
    judge_cost: float | None = None


class CellResult(Frozen):
    """`cells/<run>/<method>.json`: what one method showed on the test split of a run.

    ``run`` names the folder of the run, whose fingerprint holds everything that determines the result. ``changes`` are
    paired with the unsteered model, by set. ``p`` tests the uplift, ``p_control`` the difference from the control.
    """

    run: str
    method: str
    checkpoint: str
    unsteered: Rate
    target_rate: Rate
    uplift: Rate
    changes: dict[str, Rate]
    unscored: int = Field(ge=0)
    gate: Gate
    reasons: tuple[str, ...]
    published: bool
    selected: dict[str, Any]
    p: float
    p_control: float | None
    groups: tuple[GroupHits, ...]
    cost: CellCost


class FailedRun(Frozen):
    """`failed/<run>.json`: why the last attempt at a run failed, or at some of its methods, in a line each.

    ``traceback`` is that of an error that is no mistake of the user's.
    """

    reason: str | None = None
    traceback: str | None = None
    methods: dict[str, str] = Field(default_factory=dict)


class StageSeconds(Frozen):
    """`seconds/<stage>/<prefix>.json`: how long the attempt that finished a stage took, and of which model it was."""

    model: str
    stage: str
    seconds: float = Field(ge=0)
