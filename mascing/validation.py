"""What pydantic found wrong, said so that the writer of a file knows what to change."""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError

_LONGEST_INPUT = 60
_ANY_OF = {
    "missing": "is required",
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


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one sentence for each thing wrong: path of the field, what would be right, what was got instead."""
    return [_complaint(detail, model) for detail in error.errors(include_url=False)]


def first_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first of the complaints."""
    return complaints(error, model)[0]


def _complaint(detail: Any, model: type[BaseModel]) -> str:
    path = ".".join(_fields_of(model, detail["loc"]))
    said = _sentence(detail, model)
    return f"{path}: {said}" if path else said


def _sentence(detail: Any, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(detail["loc"][-1]), _known_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return _ANY_OF[kind]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        said = f"must be one of {context['expected']}"
    elif kind == "string_pattern_mismatch":
        said = f"must match {context['pattern']}"
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        said = f"must be {kind.replace('_than_equal', ' than or equal to').replace('_than', ' than')} {_bound(context)}"
    else:
        said = _ANY_OF.get(kind, detail["msg"])
    return f"{said}, got {_shown(detail['input'])}"


def _bound(context: dict[str, Any]) -> str:
    return next(f"{context[name]:g}" for name in ("gt", "ge", "lt", "le") if name in context)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}…"


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known are {', '.join(known) or 'none'}"


def _known_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Field names of the model that stands at a path below a root model."""
    *_, (_, annotation) = _steps(model, path)
    within = next(iter(_models_in(annotation)), None)
    return list(within.model_fields) if within else []


def _fields_of(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The parts of a path that a writer of the file sees: those of pydantic's path that are no tag of a union."""
    return [str(part) for part, _ in _steps(model, path) if part is not None]


def _steps(model: type[BaseModel], path: Sequence[str | int]) -> Iterator[tuple[str | int | None, Any]]:
    """Each part of a path with the annotation that it leads to, after the root's own; the part of a tag is None."""
    here: Any = model
    yield None, here
    for part in path:
        tagged = _tagged(here)
        if part in tagged:
            here = tagged[part]
            yield None, here
            continue
        within = next(iter(_models_in(here)), None)
        if isinstance(part, str) and within is not None and part in within.model_fields:
            here = within.model_fields[part].annotation
        yield part, here


def _tagged(annotation: Any) -> dict[str | int, Any]:
    """The members of a union by their tags; nothing for what is no tagged union."""
    return {
        tag.tag: get_args(member)[0]
        for member in get_args(annotation)
        for tag in getattr(member, "__metadata__", ())
        if isinstance(tag, Tag)
    }


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
