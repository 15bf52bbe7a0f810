"""The chat template that the configuration asks for: one of several, with the configuration's options set in it."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from mascing.errors import ConfigError

# What transformers offers to every template, beside the conversation.
_OFFERED = {
    *("messages", "tools", "documents", "add_generation_prompt"),
    *("raise_exception", "strftime_now", "range", "dict", "lipsum", "cycler", "joiner", "namespace"),
}
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # a tag that only transformers knows


def configured_template(tokenizer: Any, options: Mapping[str, JsonValue]) -> str:
    """The tokenizer's chat template with the options at its head, so that whoever applies it applies them.

    If the tokenizer has several templates, the option ``name`` chooses one. Raises ConfigError if there is no such
    template, or for an option that the template does not read: it would have no effect.
    """
    template, rest = tokenizer.chat_template, dict(options)
    if isinstance(template, dict):
        template = _named(template, rest.pop("name", "default"))
    if not rest:
        return str(template)
    _refuse_unread(_read_by(template) - _OFFERED, rest, set(tokenizer.special_tokens_map))
    # A JSON value, written in Python, is a Jinja literal. Jinja drops the line break after the tag.
    return "".join(f"{{% set {name} = {value!r} %}}\n" for name, value in rest.items()) + template


def _named(templates: Mapping[str, str], name: JsonValue) -> str:
    if isinstance(name, str) and name in templates:
        return templates[name]
    known = ", ".join(sorted(templates))
    if name == "default":
        raise ConfigError(
            f"the tokenizer has several chat templates and no default: choose one of {known}, for instance "
            f"model.chat_template: {{name: {min(templates)}}}"
        )
    raise ConfigError(f"model.chat_template.name: the tokenizer has no chat template {name!r}, only {known}")


def _read_by(template: str) -> set[str]:
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        return meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", template)))
    except TemplateSyntaxError as error:
        raise ConfigError(f"the chat template of the model is not valid: {error} (line {error.lineno})") from error


def _refuse_unread(read: set[str], options: Mapping[str, JsonValue], special_tokens: set[str]) -> None:
    for name in options:
        if name not in read:
            near = difflib.get_close_matches(name, sorted(read), n=1)
            guess = f"; did you mean {near[0]!r}?" if near else "."
            names = ", ".join(sorted(read - special_tokens)) or "no options"
            raise ConfigError(f"model.chat_template.{name}: the chat template does not read it{guess} It reads {names}")
