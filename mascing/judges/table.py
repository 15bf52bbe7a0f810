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
from mascing.judges.judge import Judge
from mascing.judges.multiple_choice import choice_judge
from mascing.judges.refusal import refusal_judge
from mascing.plugins import checked, completed, place, resolve, whole_version
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import (
    ChoiceJudge,
    ComplianceJudge,
    ContainsJudge,
    ExactJudge,
    JudgeConfig,
    PluggedJudge,
    RefusalJudge,
)


@dataclass(frozen=True)
class JudgeKind:
    """A kind of judge.

    ``factory`` takes the options as a ``config``, or as a plain dict if that is None. Raise ``version`` whenever the
    judge would give other verdicts on the same replies. ``cannot_judge`` says what a conversation lacks for the judge.
    """

    config: type[BaseModel] | None
    factory: Callable[[Any], Judge]
    version: int = 1
    cannot_judge: Callable[[Conversation], str | None] = lambda conversation: None


JUDGES: Mapping[str, JudgeKind] = {
    "refusal": JudgeKind(RefusalJudge, refusal_judge, version=2),
    "compliance": JudgeKind(ComplianceJudge, compliance_judge),
    "choice": JudgeKind(ChoiceJudge, choice_judge, cannot_judge=no_answer),
    "contains": JudgeKind(ContainsJudge, contains_judge, cannot_judge=no_answer),
    "exact": JudgeKind(ExactJudge, exact_judge, version=2, cannot_judge=no_answer),
}


def make_judge(config: JudgeConfig) -> Judge:
    """Make the judge that the config describes. Raises ConfigError if there is none or its options are invalid."""
    kind = kind_of(config)
    options = _options(config, kind)
    return _made(config.kind, kind.factory, options) if isinstance(config, PluggedJudge) else kind.factory(options)


def cannot_judge(config: JudgeConfig, conversation: Conversation) -> str | None:
    """What the conversation lacks for this judge ("has no answer to compare with: ..."), or None.

    It makes no judge. A judge of the user's own is asked only when it judges. Raises ConfigError if there is no such
    judge.
    """
    return kind_of(config).cannot_judge(conversation)


def completed_judge(config: JudgeConfig) -> JudgeConfig:
    """The config with its options checked and defaults filled in.

    Raises ConfigError if there is no such judge and OptionsError if the judge does not take the options.
    """
    if not isinstance(config, PluggedJudge):
        return config
    complete = _with_defaults(config)
    make_judge(complete)
    return complete


def judge_identity(config: JudgeConfig) -> dict[str, Any]:
    """Everything that determines a judge's verdicts on given replies, as plain JSON values."""
    kind = kind_of(config)
    identity = {"judge": _with_defaults(config).model_dump(mode="json"), "version": kind.version}
    return identity if config.kind in JUDGES else identity | {"factory": place(kind.factory)}


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
    return PluggedJudge.model_validate({**values, "kind": config.kind})


def _made(kind: str, factory: Callable[[Any], Judge], options: Any) -> Judge:
    """The judge of a user's factory, checked so that a run does not find out on its first reply."""
    try:
        judge = factory(options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{kind!r} fails on these options with {type(error).__name__}: {error}") from error
    if not (inspect.iscoroutinefunction(judge) or inspect.iscoroutinefunction(type(judge).__call__)):
        raise ConfigError(f"{kind!r} must return `async (conversation, reply) -> Verdict`, not {judge!r}")
    return judge


def _options(config: JudgeConfig, kind: JudgeKind) -> Any:
    """The options in the form that the factory takes."""
    if not isinstance(config, PluggedJudge):
        return config
    return config.options if kind.config is None else checked(kind.config, config.options)
