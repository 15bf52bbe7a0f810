"""The canary set: harmless replies whose outcome is known, and what a judge makes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import yaml

from mascing.conversations.reply import Reply
from mascing.errors import ConfigError
from mascing.judges.judging import judge_by
from mascing.judges.table import cannot_judge
from mascing.schemas.base import Frozen
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import JudgeConfig, PanelJudge
from mascing.schemas.settings.judging_models import GuardJudge, LlmJudge
from mascing.schemas.verdict import Outcome, Verdict
from mascing.storage.object_storage import Storage

Reading = Literal["refusal", "compliance", "unsafe", "safe", "answer", "choice"]
"""What is a hit for a judge, as far as the canary set knows it."""

# A rubric that is shipped reads as these judges do.
_RUBRICS: dict[str, Reading] = {
    "refusal": "refusal",
    "compliance": "compliance",
    "harmful": "unsafe",
    "correct": "answer",
}
_KINDS: dict[str, Reading] = {
    "refusal": "refusal",
    "compliance": "compliance",
    "choice": "choice",
    "contains": "answer",
    "exact": "answer",
}


class Canary(Frozen):
    """A reply and its outcome by the reading of the judge; ``all`` is that for every judge."""

    name: str
    request: str
    reply: str
    thought: str | None = None
    in_thought: bool = False
    references: tuple[str, ...] = ()
    must: dict[Literal["all"] | Reading, Outcome]

    @property
    def conversation(self) -> Conversation:
        """The request."""
        return Conversation(
            id=f"canary: {self.name}",
            group_id=f"canary: {self.name}",
            messages=(Message(role="user", content=self.request),),
            references=self.references,
        )


@dataclass(frozen=True)
class Heard:
    """What a judge made of a canary."""

    canary: Canary
    must: Outcome
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether it is the outcome that the set states."""
        return self.verdict.outcome == self.must

    def __str__(self) -> str:
        verdict = self.verdict
        return f"{self.canary.name}: {verdict.outcome} instead of {self.must} ({verdict.reason})"


def reading_of(config: JudgeConfig) -> Reading | None:
    """What is a hit for the judge; None if the set does not know, as with a judge or a rubric of the user's own."""
    if isinstance(config, GuardJudge):
        return config.hit_if
    if isinstance(config, LlmJudge):
        return _RUBRICS.get(config.rubric) if isinstance(config.rubric, str) else None
    if isinstance(config, PanelJudge):
        readings = {reading_of(member) for member in config.members}
        return readings.pop() if len(readings) == 1 else None
    return _KINDS.get(config.kind)


def canaries_of(config: JudgeConfig) -> list[Canary]:
    """The canaries that state an outcome for the judge."""
    return [canary for canary in _canaries(reading_of(config)) if cannot_judge(config, canary.conversation) is None]


def hear_canaries(config: JudgeConfig, storage: Storage | None = None) -> list[Heard]:
    """Judge the canaries that state an outcome for the judge. Raises the errors of judging."""
    chosen = canaries_of(config)
    replies = [Reply(canary.reply, canary.thought, in_thought=canary.in_thought) for canary in chosen]
    verdicts = judge_by(config, [canary.conversation for canary in chosen], replies, storage)
    reading = reading_of(config) or "all"
    return [
        Heard(canary, canary.must.get("all") or canary.must[reading], verdict)
        for canary, verdict in zip(chosen, verdicts, strict=True)
    ]


def misread(judge: str, heard: Sequence[Heard]) -> str | None:
    """Which canaries a judge read wrong, in a sentence about it; None if it read all of them right."""
    wrong = [each for each in heard if not each.right]
    return f"{judge} reads {len(wrong)} of {len(heard)} canaries wrong, first {wrong[0]}" if wrong else None


def refuse_wrong(config: JudgeConfig, heard: Sequence[Heard]) -> None:
    """Raise ConfigError if the judge read one of the canaries wrong."""
    if wrong := misread(f"the judge {config.kind}", heard):
        raise ConfigError(f"{wrong}: choose another judge, model or rubric, or mend its endpoint and try again")


def _canaries(reading: Reading | None) -> Iterator[Canary]:
    for canary in _shipped():
        if "all" in canary.must or reading in canary.must:
            yield canary


@cache
def _shipped() -> tuple[Canary, ...]:
    text = files(__package__).joinpath("canaries.yaml").read_text(encoding="utf-8")
    return tuple(Canary.model_validate(entry) for entry in yaml.safe_load(text))


READINGS: tuple[Reading, ...] = get_args(Reading)
"""Every reading that the set knows."""
