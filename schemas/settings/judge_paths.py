"""The paths in a judge's settings."""

from collections.abc import Callable

from mascing.schemas.settings.judge_settings import JudgeConfig, PanelJudge
from mascing.schemas.settings.judging_models import (
    SHIPPED_RUBRICS,
    ClassifierJudge,
    GuardJudge,
    LlmJudge,
    PerplexityJudge,
)

Moved = Callable[[str, str], str]
"""The new path for the field of this name and its path."""


def with_paths(judge: JudgeConfig, moved: Moved) -> JudgeConfig:
    """The settings with every path replaced by ``moved(field, path)``; ``model.path`` may also be a hub id."""
    update: dict[str, object] = {}
    if judge.calibration is not None:
        update["calibration"] = moved("calibration", judge.calibration)
    if isinstance(judge, GuardJudge) and judge.prompt is not None:
        update["prompt"] = moved("prompt", judge.prompt)
    if isinstance(judge, LlmJudge) and isinstance(judge.rubric, str) and judge.rubric not in SHIPPED_RUBRICS:
        update["rubric"] = moved("rubric", judge.rubric)
    if isinstance(judge, GuardJudge | LlmJudge | ClassifierJudge | PerplexityJudge) and judge.model is not None:
        path = moved("model.path", judge.model.path)
        update["model"] = judge.model.model_copy(update={"path": path})
    if isinstance(judge, PanelJudge):
        update["members"] = tuple(
            with_paths(member, lambda field, path, number=number: moved(f"members.{number}.{field}", path))  # type: ignore[misc]
            for number, member in enumerate(judge.members)
        )
    return judge.model_copy(update=update)
