"""The chat template that the configuration asks for: one of several, with the configuration's options set in it."""

import difflib
import re
from collections.abc import Iterator, Mapping
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
    rest = dict(options)
    template: str = tokenizer.chat_template
    if isinstance(tokenizer.chat_template, dict):
        template = _named(tokenizer.chat_template, rest.pop("name", "default"))
    if not rest:
        return template
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
    """The names that the template takes from outside: jinja's own answer has those too that it sets in some branch."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        parsed = environment.parse(_GENERATION.sub("", template))
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"the chat template of the model is not valid: {error} (line {error.lineno}); correct "
            "chat_template.jinja, or copy it again"
        ) from error
    first_use: dict[str, str] = {}
    for name in _names(parsed):
        first_use.setdefault(name.name, name.ctx)
    return {name for name in meta.find_undeclared_variables(parsed) if first_use.get(name) != "store"}


def _names(node: Any) -> Iterator[Any]:
    """Every name below the node in the order of execution: a value is read before its target is set."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        yield node
    children = list(node.iter_child_nodes())
    if isinstance(node, nodes.Assign | nodes.AssignBlock | nodes.For):  # target, value, ...
        children[:2] = children[1::-1]
    for child in children:
        yield from _names(child)


def _refuse_unread(read: set[str], options: Mapping[str, JsonValue], special_tokens: set[str]) -> None:
    for name in options:
        if name == "name" and name not in read:
            raise ConfigError(
                "model.chat_template.name: this model has one chat template, so there is none to choose: leave it out"
            )
        if name not in read:
            near = difflib.get_close_matches(name, sorted(read), n=1)
            guess = f"; did you mean {near[0]!r}?" if near else "."
            names = ", ".join(sorted(read - special_tokens)) or "no options"
            raise ConfigError(f"model.chat_template.{name}: the chat template does not read it{guess} It reads {names}")
