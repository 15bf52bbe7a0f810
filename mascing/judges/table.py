"""The table of judges: each kind with the model of its options, its factory and the version of its verdicts.

A judge that is not in the table is a user's factory, named by import path or entry point. The annotation of its single
parameter is the model of its options; its attribute ``version``, or 1, is its version.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import BaseModel

from mascing.errors import ConfigError
from mascing.judges.comparing import no_answer
from mascing.judges.compliance import compliance_judge
from mascing.judges.contains import contains_judge
from mascing.judges.exact import exact_judge
from mascing.judges.guards.guard_judge import guard_identity, guard_judge
from mascing.judges.judge import BatchJudge, Judge
from mascing.judges.multiple_choice import choice_judge
from mascing.judges.panels.panel import panel_judge
from mascing.judges.refusal import refusal_judge
from mascing.judges.rubrics.llm_judge import llm_cannot_judge, llm_identity, llm_judge
from mascing.judges.scores.classifier import classifier_identity, classifier_judge
from mascing.judges.scores.perplexity import perplexity_identity, perplexity_judge
from mascing.plugins import checked, completed, place, resolve, whole_version
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import (
    ChoiceJudge,
    ComplianceJudge,
    ContainsJudge,
    ExactJudge,
    JudgeConfig,
    PanelJudge,
    PluggedJudge,
    RefusalJudge,
)
from mascing.schemas.settings.judging_models import ClassifierJudge, GuardJudge, LlmJudge, PerplexityJudge


@dataclass(frozen=True)
class JudgeKind:
    """A kind of judge.

    ``factory`` takes the options as a ``config``, or as a plain dict if that is None. Raise ``version`` whenever the
    judge would give other verdicts on the same replies. ``cannot_judge`` says what a conversation lacks for the judge.
    ``by_rules`` is true if it judges in no time and at no cost. ``identity`` is what determines its verdicts beside the
    options, such as a model's content; ``placement`` are the options that determine none.
    """

    config: type[BaseModel] | None
    factory: Callable[[Any], Judge | BatchJudge]
    version: int = 1
    cannot_judge: Callable[[Any, Conversation], str | None] = lambda config, conversation: None
    by_rules: bool = False
    identity: Callable[[Any], Any] | None = None
    placement: Mapping[str, Any] | None = None


def _no_answer(config: Any, conversation: Conversation) -> str | None:
    return no_answer(conversation)


def _panel(config: PanelJudge) -> BatchJudge:
    names = [f"{number}: {member.kind}" for number, member in enumerate(config.members, start=1)]
    return panel_judge(list(zip(names, map(make_judge, config.members), strict=True)), config.rule)


def _members_identity(config: PanelJudge) -> list[dict[str, Any]]:
    return [judge_identity(member) for member in config.members]


def _no_member_can(config: PanelJudge, conversation: Conversation) -> str | None:
    lacking = (cannot_judge(member, conversation) for member in config.members)
    return next((each for each in lacking if each is not None), None)


# Where and how fast a model judges. An endpoint's name and model are in the identity of who speaks.
_PLACED: Mapping[str, Any] = {"model": True, "endpoint": True}

JUDGES: Mapping[str, JudgeKind] = {
    "refusal": JudgeKind(RefusalJudge, refusal_judge, version=3, by_rules=True),
    "compliance": JudgeKind(ComplianceJudge, compliance_judge, version=2, by_rules=True),
    "choice": JudgeKind(ChoiceJudge, choice_judge, cannot_judge=_no_answer, by_rules=True),
    "contains": JudgeKind(ContainsJudge, contains_judge, cannot_judge=_no_answer, by_rules=True),
    "exact": JudgeKind(ExactJudge, exact_judge, version=2, cannot_judge=_no_answer, by_rules=True),
    "llama_guard": JudgeKind(
        GuardJudge, guard_judge, version=3, identity=guard_identity, placement={**_PLACED, "prompt": True}
    ),
    "llm": JudgeKind(
        LlmJudge, llm_judge, version=3, cannot_judge=llm_cannot_judge, identity=llm_identity, placement=_PLACED
    ),
    "classifier": JudgeKind(ClassifierJudge, classifier_judge, identity=classifier_identity, placement=_PLACED),
    "perplexity": JudgeKind(PerplexityJudge, perplexity_judge, identity=perplexity_identity, placement=_PLACED),
    "panel": JudgeKind(
        PanelJudge, _panel, cannot_judge=_no_member_can, identity=_members_identity, placement={"members": True}
    ),
}


def make_judge(config: JudgeConfig) -> Judge | BatchJudge:
    """Make the judge that the config describes. Raises ConfigError if there is none or its options are invalid."""
    kind = kind_of(config)
    options = _options(config, kind)
    return _made(config.kind, kind.factory, options) if isinstance(config, PluggedJudge) else kind.factory(options)


def cannot_judge(config: JudgeConfig, conversation: Conversation) -> str | None:
    """What the conversation lacks for this judge ("has no answer to compare with: ..."), or None.

    It makes no judge. A judge of the user's own is asked only when it judges. Raises ConfigError if there is no such
    judge.
    """
    return kind_of(config).cannot_judge(config, conversation)


def completed_judge(config: JudgeConfig) -> JudgeConfig:
    """The config with its options checked and defaults filled in.

    Raises ConfigError if there is no such judge and OptionsError if the judge does not take the options.
    """
    complete = _with_defaults(config)
    make_judge(complete)
    return complete


def judge_identity(config: JudgeConfig) -> dict[str, Any]:
    """Everything that determines a judge's verdicts on given replies, as plain JSON values.

    Raises ModelError if the model of a judge does not exist.
    """
    kind = kind_of(config)
    unread = {"calibration": True, **(kind.placement or {})}
    identity = {"judge": _with_defaults(config).model_dump(mode="json", exclude=unread), "version": kind.version}
    if kind.identity is not None:
        identity["by"] = kind.identity(config)
    return identity if config.kind in JUDGES else identity | {"factory": place(kind.factory)}


def compares(config: JudgeConfig) -> bool:
    """Whether the judge looks for an accepted answer in the reply."""
    return kind_of(config).cannot_judge is _no_answer


def kind_of(config: JudgeConfig) -> JudgeKind:
    """The row of the table, or the kind of a user's factory. Raises ConfigError if there is neither."""
    return JUDGES[config.kind] if config.kind in JUDGES else _plugged(config.kind)


def _plugged(kind: str) -> JudgeKind:
    factory = resolve(kind, "mascing.judges", JUDGES)
    try:
        [parameter] = inspect.signature(factory, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{kind!r} is no judge: it must be a function of one parameter, the judge's options, that returns "
            f"`async (conversation, reply) -> Verdict` ({error})"
        ) from error
    hint = parameter.annotation
    config = hint if isinstance(hint, type) and issubclass(hint, BaseModel) else None
    if config is None and hint is not parameter.empty and (get_origin(hint) or hint) not in (dict, Mapping, Any):
        raise ConfigError(f"the parameter of {kind!r} must be annotated with a pydantic model or dict, not {hint!r}")
    return JudgeKind(config, factory, whole_version(kind, getattr(factory, "version", 1)))


def _with_defaults(config: JudgeConfig) -> JudgeConfig:
    """The config with its options complete. It makes no judge: a factory may load a model."""
    if not isinstance(config, PluggedJudge):
        return config
    kind = kind_of(config)
    values = completed(config.kind, kind.config, config.options) if kind.config else config.options
    complete = PluggedJudge.model_validate({**values, "kind": config.kind})
    return complete.model_copy(update={"calibration": config.calibration})


def _made(kind: str, factory: Callable[[Any], Judge | BatchJudge], options: Any) -> Judge | BatchJudge:
    """The judge of a user's factory, checked so that a run does not find out on its first reply."""
    try:
        judge = factory(options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{kind!r} fails on these options with {type(error).__name__}: {error}") from error
    if isinstance(judge, BatchJudge):
        return judge
    if not (inspect.iscoroutinefunction(judge) or inspect.iscoroutinefunction(type(judge).__call__)):
        raise ConfigError(f"{kind!r} must return `async (conversation, reply) -> Verdict`, not {judge!r}")
    return judge


def _options(config: JudgeConfig, kind: JudgeKind) -> Any:
    """The options in the form that the factory takes."""
    if not isinstance(config, PluggedJudge):
        return config
    return config.options if kind.config is None else checked(kind.config, config.options)
