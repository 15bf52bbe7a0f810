"""The settings of judges: one model per kind of judge, and their union for the configuration."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.settings.plugged import Plugged


class RefusalJudge(Frozen):
    """Hit if the reply starts with one of ``phrases``; an empty reply is ``unscored``."""

    kind: Literal["refusal"] = "refusal"
    phrases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _needs_phrases(self) -> "RefusalJudge":
        if not self.phrases:
            raise ValueError("a refusal judge needs phrases: the openings that count as a refusal")
        return self


class ExactJudge(Frozen):
    """Hit if the reply equals the conversation's ``wanted`` reply; an empty reply is ``unscored``."""

    kind: Literal["exact"] = "exact"

    @model_validator(mode="before")
    @classmethod
    def _takes_no_phrases(cls, value: Any) -> Any:
        if isinstance(value, dict) and "phrases" in value:
            raise ValueError("an exact judge compares with `wanted` and takes no phrases")
        return value


BUILT_IN = frozenset(str(judge.model_fields["kind"].default) for judge in (RefusalJudge, ExactJudge))
"""The kinds that have a model in the union."""


class PluggedJudge(Plugged):
    """Any other judge; ``kind`` is its registered name or its import path."""


def _tag(value: Any) -> str | None:
    """The model of the union that a value is for, or None if the value has no ``kind``."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if not isinstance(kind, str):
        return None
    return kind if kind in BUILT_IN else "plugged"


JudgeConfig = Annotated[
    Annotated[RefusalJudge, Tag("refusal")]
    | Annotated[ExactJudge, Tag("exact")]
    | Annotated[PluggedJudge, Tag("plugged")],
    Discriminator(
        _tag,
        custom_error_type="judge_without_kind",
        custom_error_message="must be a mapping with a `kind`: refusal, exact, or where a judge of your own is",
    ),
]
"""The judge of one kind of set; ``kind`` selects the model."""
