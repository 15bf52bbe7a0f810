"""The settings of judges: one model per kind of judge, and their union for the configuration."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from mascing.schemas.settings.calibrated import Calibrated
from mascing.schemas.settings.judging_models import ClassifierJudge, GuardJudge, LlmJudge, PerplexityJudge
from mascing.schemas.settings.plugged import Plugged


class RefusalJudge(Calibrated):
    """Hit if the reply refuses, by the default rule or by opening with one of ``phrases``."""

    kind: Literal["refusal"] = "refusal"
    phrases: tuple[str, ...] = ()


class ComplianceJudge(Calibrated):
    """Hit if the reply does not refuse; an empty or broken reply is ``unscored``. ``phrases`` are further refusals."""

    kind: Literal["compliance"] = "compliance"
    phrases: tuple[str, ...] = ()


class _Comparing(Calibrated):
    """The settings of a judge that compares a reply with the answers that its conversation accepts."""

    @model_validator(mode="before")
    @classmethod
    def _takes_no_phrases(cls, value: Any) -> Any:
        if isinstance(value, dict) and "phrases" in value:
            kind = cls.model_fields["kind"].default
            article = "an" if kind[0] in "aeiou" else "a"
            raise ValueError(f"{article} {kind} judge compares with `wanted` or `references` and takes no phrases")
        return value


class ChoiceJudge(_Comparing):
    """Hit if the option that the reply chooses is an accepted one; ``unscored`` if it chooses none."""

    kind: Literal["choice"] = "choice"


class ContainsJudge(_Comparing):
    """Hit if an accepted answer occurs in the reply as whole words."""

    kind: Literal["contains"] = "contains"


class ExactJudge(_Comparing):
    """Hit if the reply is an accepted answer, apart from case, white space, markup and final punctuation."""

    kind: Literal["exact"] = "exact"


class PanelJudge(Calibrated):
    """Hit if the ``members`` find one by the ``rule``; an unscored member is neither for a hit nor for a miss."""

    kind: Literal["panel"] = "panel"
    members: tuple["JudgeConfig", ...] = Field(min_length=2)
    rule: Literal["majority", "unanimity"] = Field(
        default="majority", description="more than half of all members, or all of them; anything else is unscored"
    )


BUILT_IN = tuple(
    str(judge.model_fields["kind"].default)
    for judge in (
        *(RefusalJudge, ComplianceJudge, ChoiceJudge, ContainsJudge, ExactJudge),
        *(GuardJudge, LlmJudge, ClassifierJudge, PerplexityJudge, PanelJudge),
    )
)
"""The kinds that have a model in the union."""


class PluggedJudge(Plugged, Calibrated):
    """Any other judge; ``kind`` is its registered name or its import path."""

    # As a JSON schema the union is a `oneOf`, which one model alone may fit; Prefect checks parameters by it.
    model_config = ConfigDict(extra="allow", json_schema_extra={"not": {"properties": {"kind": {"enum": [*BUILT_IN]}}}})


def _tag(value: Any) -> str | None:
    """The model of the union that a value is for, or None if the value has no ``kind``."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if not isinstance(kind, str):
        return None
    return kind if kind in BUILT_IN else "plugged"


JudgeConfig = Annotated[
    Annotated[RefusalJudge, Tag("refusal")]
    | Annotated[ComplianceJudge, Tag("compliance")]
    | Annotated[ChoiceJudge, Tag("choice")]
    | Annotated[ContainsJudge, Tag("contains")]
    | Annotated[ExactJudge, Tag("exact")]
    | Annotated[GuardJudge, Tag("llama_guard")]
    | Annotated[LlmJudge, Tag("llm")]
    | Annotated[ClassifierJudge, Tag("classifier")]
    | Annotated[PerplexityJudge, Tag("perplexity")]
    | Annotated[PanelJudge, Tag("panel")]
    | Annotated[PluggedJudge, Tag("plugged")],
    Discriminator(
        _tag,
        custom_error_type="judge_without_kind",
        custom_error_message=f"must be a mapping with a `kind`: {', '.join(BUILT_IN)}, or where a judge of your own is",
    ),
]
"""The judge of one kind of set; ``kind`` selects the model."""

PanelJudge.model_rebuild()
