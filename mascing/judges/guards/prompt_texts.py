"""The prompts that a guard was trained on, from the card of its model or from the user's file.

They are not in this package: the card that comes with the weights has them to the letter.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mascing.errors import ConfigError, ModelError
from mascing.judges.speakers.checkpoint import model_card
from mascing.schemas.settings.judging_models import GuardJudge

_QUOTED = re.compile(r"\"\"\"(.*?)\"\"\"|'''(.*?)'''", re.DOTALL)
_FIELD = re.compile(r"\{(\w+)\}")


def prompt_texts(config: GuardJudge, needed: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """The texts by name; that of the first name must be there.

    Raises ConfigError if the user's file is not one, and ModelError if the card holds none or several.
    """
    if not needed:
        return {}
    first = next(iter(needed))
    if config.prompt is not None:
        return {first: _from_file(config.prompt, needed[first])}
    if config.model is None:
        raise ConfigError("behind an endpoint a guard's card cannot be read: name a file with its prompt as `prompt`")
    card = model_card(config.model)
    quoted = {found[1] if found[1] is not None else found[2] for found in _QUOTED.finditer(card)}
    texts = {name: _only(quoted, fields) for name, fields in needed.items()}
    found = {name: text for name, text in texts.items() if text is not None}
    if first not in found:
        named = " and ".join(f"{{{field}}}" for field in sorted(needed[first]))
        raise ModelError(
            f"the card of {config.model.path} does not hold one prompt with {named} in triple quotes: name a file with "
            "the prompt as `prompt`"
        )
    return found


def _from_file(path: str, fields: frozenset[str]) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt: {path} cannot be read: {error}") from error
    if not fields <= set(_FIELD.findall(text)):
        named = " and ".join(f"{{{field}}}" for field in sorted(fields))
        raise ConfigError(f"prompt: {path} must hold {named}, where the judge puts its texts")
    return text


def _only(quoted: set[str], fields: frozenset[str]) -> str | None:
    """The one text with exactly these fields."""
    found = [text for text in quoted if set(_FIELD.findall(text)) == fields]
    return found[0] if len(found) == 1 else None
