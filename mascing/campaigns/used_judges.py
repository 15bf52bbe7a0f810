"""The judges of a campaign: how far each can be trusted, and that none starts which reads its canaries wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from mascing.engines.openai.stored_answers import PaidAnew
from mascing.errors import ConfigError
from mascing.judges.calibrations.calibration import calibration_of
from mascing.judges.canaries.canary import hear_canaries, misread
from mascing.judges.table import kind_of
from mascing.schemas.campaign import PlannedRun
from mascing.schemas.settings.judge_settings import JudgeConfig, PanelJudge
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class UsedJudge:
    """A judge and what it reads: the sets of the campaign's behaviours."""

    config: JudgeConfig
    reads: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.config.kind} ({', '.join(self.reads)})"

    @property
    def by_rules(self) -> bool:
        """Whether it judges in no time and at no cost."""
        return _by_rules(self.config)


def judges_of(runs: Iterable[PlannedRun]) -> list[UsedJudge]:
    """Each distinct judge of the runs once, in their order."""
    found: dict[str, UsedJudge] = {}
    for run in runs:
        for name, config in run.config.behaviour.all_judges.items():
            key, reads = config.model_dump_json(), f"{name} of {run.behaviour}"
            before = found[key].reads if key in found else ()
            found[key] = UsedJudge(config, tuple(dict.fromkeys((*before, reads))))
    return list(found.values())


def trust(judge: UsedJudge) -> str:
    """What is known of a judge's errors, in a sentence."""
    calibration = calibration_of(judge.config)
    if calibration is None:
        return f"judge {judge}: not calibrated, so its rates stay as it reads them"
    sides = ", ".join(
        f"{name} {100 * rate.value:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
        for name, rate in (("sensitivity", calibration.sensitivity), ("specificity", calibration.specificity))
    )
    return f"judge {judge}: calibrated on {calibration.hits} hits and {calibration.misses} misses: {sides}"


def wrongly_read(judge: UsedJudge, storage: Storage | None = None) -> str | None:
    """What the judge reads wrong of its canaries, in a sentence; None if it passes. Raises the errors of judging."""
    wrong = misread(f"judge {judge}", hear_canaries(judge.config, storage))
    if wrong is None or storage is None or judge.by_rules:
        return wrong
    # Its answers may have been stored before its endpoint was mended.
    return misread(f"judge {judge}", hear_canaries(judge.config, PaidAnew(storage)))


def refuse_unless(allowed: bool, wrong: str) -> None:
    """Raise ConfigError for a judge that reads canaries wrong, unless the campaign allows it."""
    if not allowed:
        raise ConfigError(
            f"{wrong}: choose another judge, model or rubric, or let the campaign start all the same by "
            "`allow_failing_judges: true`"
        )


def _by_rules(config: JudgeConfig) -> bool:
    if isinstance(config, PanelJudge):
        return all(map(_by_rules, config.members))
    return kind_of(config).by_rules
