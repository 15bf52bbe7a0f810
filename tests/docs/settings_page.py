"""Write `docs/settings.md`: every setting of a run with its type, default and meaning, from the configuration itself.

python -m tests.docs.settings_page
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mascing.schemas.config import RunConfig
from mascing.schemas.settings.engine_settings import OpenAIEngine, Prices, RunEngine, SpendingLimit
from mascing.schemas.settings.judge_settings import JudgeConfig, PluggedJudge
from mascing.schemas.settings.judging_models import JudgingModel, RubricText

_HEAD = "| key | type | default | meaning |\n|---|---|---|---|"
PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
_OPENING = """# Settings

Every key of `run.yaml`. Those with the default *needed* must be given; all others may be left out. A key that is not
listed here is refused. `null` in place of a method's settings leaves the method out. Judges and methods of your own
have their own keys beside `kind`. Where `behaviour` names an entry of the catalogue, it takes
[other keys](behaviours.md#a-run-that-takes-one) beside these.

Written by `python -m tests.docs.settings_page` from `schemas/config.py`; a test keeps it current.
"""


def page() -> str:
    """The text of the page."""
    return "\n".join([_OPENING, *_section("", RunConfig), *_engines(), *_judges()]).rstrip() + "\n"


def _engines() -> Iterator[str]:
    """A table for each kind of engine that a run can have."""
    yield "## Engine\n"
    yield "`engine` is one of these, by `kind`.\n"
    for each in _kinds(RunEngine):
        yield from _of_kind(f"engine of kind: {each.model_fields['kind'].default}", each)


def _judges() -> Iterator[str]:
    """A table for each kind of judge, and for the parts that several of them share."""
    yield "## Judges\n"
    yield "`behaviour.target`, `.utility`, `.protected` and the members of a panel are each one of these, by `kind`.\n"
    kinds = _kinds(JudgeConfig)
    shared: dict[str, type[BaseModel]] = {
        "model": JudgingModel,
        "endpoint": OpenAIEngine,
        "endpoint.prices": Prices,
        "endpoint.budget": SpendingLimit,
        "rubric": RubricText,
    }
    named = {f"kind: {each.model_fields['kind'].default}": each for each in kinds if each is not PluggedJudge}
    for title, model in {**named, **{f"{name} of a judge": part for name, part in shared.items()}}.items():
        yield from _of_kind(title, model)


def _first_sentence(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0].replace("``", "`")


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    """A heading, the model's own sentence and a row for each plain setting; then its parts in sections of their own."""
    fields = model.model_fields
    parts = {name: part for name, field in fields.items() if (part := _part(field.annotation))}
    yield f"## {path or 'run.yaml'}\n"
    yield f"{_first_sentence(model)}\n"
    yield _HEAD
    for name, field in fields.items():
        key = f"[`{name}`](#{_anchor(path, name)})" if name in parts else f"`{name}`"
        cells = (key, _type(field.annotation), _default(field, name in parts), _cell(field.description or ""))
        yield f"| {' | '.join(cells)} |"
    yield ""
    for name, part in parts.items():
        yield from _section(f"{path}.{name}".lstrip("."), part)


def _kinds(union: Any) -> list[type[BaseModel]]:
    """The members of a union that `kind` tells apart."""
    return [get_args(member)[0] for member in get_args(get_args(union)[0])]


def _of_kind(title: str, model: type[BaseModel]) -> Iterator[str]:
    """A heading, the model's own sentence and a row for each setting but `kind`."""
    yield f"### {title}\n"
    yield f"{_first_sentence(model)}\n"
    if model.model_fields.keys() == {"kind"}:
        return
    yield _HEAD
    for name, field in model.model_fields.items():
        if name != "kind":
            meaning = _cell(field.description or "")
            yield f"| `{name}` | {_type(field.annotation)} | {_default(field, False)} | {meaning} |"
    yield ""


def _part(annotation: Any) -> type[BaseModel] | None:
    """The configuration that a setting holds, if it holds one with settings of its own."""
    for each in (annotation, *get_args(annotation)):
        inner = get_args(each)[0] if get_origin(each) is Annotated else each
        if get_origin(inner) is tuple:  # a list of such
            each = get_args(inner)[0]
        if inspect.isclass(each) and issubclass(each, BaseModel) and each.model_fields:
            return each
    return None


def _anchor(path: str, name: str) -> str:
    return f"{path}{name}".replace(".", "")


_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}


def _type(annotation: Any) -> str:
    """The type in words of YAML."""
    inner = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_type, inner)))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    return _PLAIN.get(annotation, "mapping")


def _default(field: FieldInfo, is_part: bool) -> str:
    if field.is_required():
        return "*needed*"
    if is_part:
        return "null" if field.default is None else ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"`{value.model_dump_json()}`"
    return f"`{_cell(json.dumps(value, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
