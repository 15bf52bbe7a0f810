"""Turn pydantic's errors into messages that tell the author of a file what to change."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError

_LONGEST_INPUT = 60
_LONGEST_CHOICE = 120
_ALIKE = 0.5
"""Similarity from which a wrong value is taken for a misspelt one: `pos` for `positive`."""
REQUIRED = "is required"
_REQUIREMENTS = {
    "missing": REQUIRED,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "string_type": "must be text (put it in quotes)",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for the ``object_pairs_hook`` of `json`. Raises ValueError if a key stands there twice.

    JSON leaves open what that means, and Python keeps the last value.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:40]!r} stands there twice")
    return value


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one sentence per error: the field's path, the requirement, and the value received."""
    return [_complaint(detail, model) for detail in error.errors(include_url=False) if not _is_an_echo(detail)]


def _is_an_echo(detail: Any) -> bool:
    # pydantic counts the items that are right: of a list with a wrong one, it says that there are too few.
    return bool(detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"])


def _complaint(detail: Any, model: type[BaseModel]) -> str:
    path = ".".join(_fields_of(model, detail["loc"]))
    sentence = _sentence(detail, model)
    return f"{path}: {sentence}" if path else sentence


def _sentence(detail: Any, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(detail["loc"][-1]), _known_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return _REQUIREMENTS[kind]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return _of_no_choice(detail)
    if kind == "string_pattern_mismatch":
        requirement = f"must match {context['pattern']}"
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        comparison = kind.replace("_than_equal", " than or equal to").replace("_than", " than")
        requirement = f"must be {comparison} {_bound(context)}"
    else:
        requirement = _REQUIREMENTS.get(kind, detail["msg"])
    return f"{requirement}, got {_shown(detail['input'])}"


def _of_no_choice(detail: Any) -> str:
    """The complaint about a value that is not allowed; many allowed ones are not listed if one is close."""
    expected, given = detail["ctx"]["expected"], _shown(detail["input"])
    near = difflib.get_close_matches(
        str(detail["input"]).strip().lower(), re.findall(r"'([^']*)'", expected), n=1, cutoff=_ALIKE
    )
    guess = f"; did you mean {near[0]!r}?" if near else ""
    if near and len(expected) > _LONGEST_CHOICE:
        return f"there is no {given}{guess}"
    return f"must be one of {expected}, got {given}{guess}"


def _bound(context: dict[str, Any]) -> str:
    return next(f"{context[name]:g}" for name in ("gt", "ge", "lt", "le") if name in context)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):  # a file that is no JSON
        value = value.decode(errors="replace")
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}…"


def unknown_key(key: str, known: Sequence[str]) -> str:
    """The complaint about a key that no field has."""
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known are {', '.join(known) or 'none'}"


def _known_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the field names of the model at a path below a root model."""
    *_, (_, annotation) = _steps(model, path)
    inner = next(iter(_models_in(annotation)), None)
    return list(inner.model_fields) if inner else []


def _fields_of(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the parts of pydantic's path that the author of the file sees: all but the tags of unions."""
    return [str(part) for part, _ in _steps(model, path) if part is not None]


def _steps(model: type[BaseModel], path: Sequence[str | int]) -> Iterator[tuple[str | int | None, Any]]:
    """Yield the root's annotation, then each part of a path with its annotation; the part is None for a tag."""
    annotation: Any = model
    yield None, annotation
    for part in path:
        members = _members_by_tag(annotation)
        if part in members:
            annotation = members[part]
            yield None, annotation
            continue
        inner = next(iter(_models_in(annotation)), None)
        if isinstance(part, str) and inner is not None and part in inner.model_fields:
            annotation = inner.model_fields[part].annotation
        yield part, annotation


def _members_by_tag(annotation: Any) -> dict[str | int, Any]:
    """Return the members of a tagged union by tag, also of one that may be null; empty for any other annotation."""
    members: dict[str | int, Any] = {}
    for member in get_args(annotation):
        tags = [tag.tag for tag in getattr(member, "__metadata__", ()) if isinstance(tag, Tag)]
        members |= {tag: get_args(member)[0] for tag in tags} if tags else _members_by_tag(member)
    return members


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
