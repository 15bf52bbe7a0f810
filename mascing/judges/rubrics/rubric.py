"""The question that a language model answers about a reply: one that is shipped, or the user's own."""

from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from mascing.errors import ConfigError
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judging_models import SHIPPED_RUBRICS, RubricText
from mascing.validation import complaints


def rubric_of(rubric: str | RubricText) -> RubricText:
    """The rubric by its name, from the user's YAML file, or as it stands. Raises ConfigError if it is none."""
    from mascing.strict_yaml import parse_yaml  # here, since judging by rules needs none

    if isinstance(rubric, RubricText):
        return rubric
    if rubric in SHIPPED_RUBRICS:
        text = files(__package__).joinpath(f"{rubric}.yaml").read_text(encoding="utf-8")
    else:
        text = _own(rubric)
    try:
        return RubricText.model_validate(parse_yaml(text, f"rubric: {rubric}"))
    except ValidationError as error:
        raise ConfigError(f"rubric: {rubric}: {'; '.join(complaints(error, RubricText))}") from error


def lacks(rubric: RubricText, conversation: Conversation) -> str | None:
    """Why a rubric cannot be asked about the conversation, or None."""
    if "references" in rubric.shows and not conversation.accepted:
        return "has no accepted answer to show to the judge: add `references` or `wanted`"
    if rubric.against is not None and not getattr(conversation, rubric.against):
        return f"has no `{rubric.against}` reply to compare with"
    return None


def _own(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(
            f"rubric: {path!r} is neither {', '.join(SHIPPED_RUBRICS)} nor a file that can be read ({error})"
        ) from error
