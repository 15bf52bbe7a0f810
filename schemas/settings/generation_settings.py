"""How replies for judging are generated, and which turns of a conversation the model answers itself."""

from typing import Literal

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.settings.judging_models import GuardJudge

Turns = Literal["last_turn", "live"]
Stop = Literal["hit", "miss", "end"]

_AT_THE_END = ("refusal", "compliance", "contains", "exact", "choice")
_AT_HARM: dict[str, Stop] = {"unsafe": "hit", "safe": "miss"}
"""Where a conversation stops by what a guard looks for: harm counts in any turn, and a harmless turn has none."""


class StopConfig(Frozen):
    """Where a live conversation of each kind of set stops: at the first hit, at the first miss, or at its end.

    Null is by the judge: `llama_guard` stops at the first unsafe reply. `refusal`, `compliance` and the judges that
    compare with references decide on the last reply: to a harmless first turn a friendly reply is no refusal either,
    and breaks no defence. Other judges must be said.
    """

    target: Stop | None = None
    utility: Stop | None = None
    protected: Stop | None = None


class GenerationConfig(Frozen):
    """How replies for judging are generated, in fixed batches.

    At a temperature above 0 replies are sampled; each conversation has its own generator, seeded with its id.
    """

    max_new_tokens: int = Field(
        default=128, gt=0, description="thoughts included; a reply that is cut off before it can be judged is unscored"
    )
    temperature: float = Field(default=0, ge=0, description="0 is greedy")
    batch_size: int = Field(default=64, gt=0)
    turns: Turns = Field(
        default="last_turn",
        description="`last_turn`: the file's history is fixed, and the model answers the last turn. `live`: it answers "
        "every user turn, and its own replies are the history",
    )
    stop_at: StopConfig = Field(default=StopConfig(), description="where a `live` conversation stops")


def stop_of(generation: GenerationConfig, name: str, judge: JudgeConfig) -> Stop:
    """Where a live conversation of a set, or a kind of set, stops. Raises ValueError if its judge leaves that open."""
    kind = name.partition("/")[0]
    stop: Stop | None = getattr(generation.stop_at, kind) or _default(judge)
    if stop is None:
        raise ValueError(
            f"generation.stop_at.{kind}: say hit, miss or end: a live conversation stops at the first reply of that "
            f"verdict, and of the judge {judge.kind!r} it is not known which one ends it"
        )
    return stop


def _default(judge: JudgeConfig) -> Stop | None:
    if isinstance(judge, GuardJudge):
        return _AT_HARM.get(judge.hit_if, "end")
    return "end" if judge.kind in _AT_THE_END else None
