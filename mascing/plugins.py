"""Find the user's own judges and methods by import path or by the entry point of an installed package."""

import difflib
import importlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from mascing.errors import ConfigError
from mascing.validation import complaints, unknown_key

Group = Literal["mascing.judges", "mascing.methods"]
"""The group under which a package declares its entry points."""

Options = TypeVar("Options", bound=BaseModel)


class OptionsError(ConfigError):
    """Options that a plug-in rejects, with one complaint each that begins with the option's name."""

    def __init__(self, *complaints: str) -> None:
        super().__init__(*complaints)
        self.complaints = complaints

    def __str__(self) -> str:
        return "; ".join(self.complaints)


def resolve(kind: str, group: Group, known: Iterable[str] = ()) -> Any:
    """Return the object that ``kind`` names: ``my_package.my_module:my_object`` or an entry point of ``group``.

    ``known`` are the valid names that need no plug-in. Raises ConfigError if the object does not exist.
    """
    return imported(kind) if ":" in kind else _declared(kind, group, known)


def checked(model: type[Options], options: Mapping[str, Any]) -> Options:
    """Validate the options as strictly as the rest of a configuration. Raises OptionsError if any is wrong."""
    unknown = options.keys() - model.model_fields.keys()
    if unknown and model.model_config.get("extra") is None:  # the model would ignore them
        raise OptionsError(*(f"{name}: {unknown_key(name, list(model.model_fields))}" for name in sorted(unknown)))
    try:
        return model.model_validate_json(json.dumps(options), strict=True)
    except ValidationError as error:
        raise OptionsError(*complaints(error, model)) from error


def completed(kind: str, model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with their defaults, as JSON values that mean the same when they are validated again.

    Workers and later runs get these. Raises OptionsError if an option is wrong, and ConfigError if one does not survive
    being written, as a secret does not.
    """
    validated = checked(model, options)
    try:
        values: dict[str, Any] = json.loads(json.dumps(validated.model_dump(mode="json"), sort_keys=True))
        survives = checked(model, values) == validated and "kind" not in values
    except (OptionsError, TypeError, ValueError) as error:
        raise ConfigError(f"the options of {kind!r} cannot be stored as JSON: {error}") from error
    if not survives:
        raise ConfigError(
            f"the options of {kind!r} do not survive being stored: use plain values, read secrets from the "
            "environment, and name no option `kind`"
        )
    return values


def place(part: Any) -> str:
    """Where a plug-in is defined: what a registered name leads to can change."""
    return f"{part.__module__}:{getattr(part, '__qualname__', type(part).__qualname__)}"


def whole_version(kind: str, version: Any) -> int:
    """The version that a plug-in declares. Raises ConfigError unless it is a whole number."""
    if type(version) is not int:
        raise ConfigError(f"the version of {kind!r} must be a whole number, not {version!r}")
    return version


def imported(path: str) -> Any:
    """The object at ``my_package.my_module:my_object``. Raises ConfigError if there is none."""
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise ConfigError(f"{path!r} is not an import path: write it as my_package.my_module:my_object")
    value: Any = _module(module_name, path)
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = difflib.get_close_matches(part, dir(value), n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{path!r}: {module_name} has no {attribute}{hint}")
        value = getattr(value, part)
    return value


def _module(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{path!r}: there is no module {error.name}: install its package, or put its folder on PYTHONPATH, "
                "here and on every worker"
            ) from error
        raise _failed(path, name, error) from error
    except Exception as error:
        raise _failed(path, name, error) from error


def _failed(path: str, name: str, error: Exception) -> ConfigError:
    return ConfigError(f"{path!r}: importing {name} failed with {type(error).__name__}: {error}")


def _declared(name: str, group: Group, known: Iterable[str]) -> Any:
    declared = {point.name: point for point in entry_points(group=group)}
    if name not in declared:
        names = sorted({*known, *declared})
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names) or 'none'}"
        raise ConfigError(
            f"nothing is registered as {name!r}: {hint}; give an import path (my_package.my_module:my_object), or "
            f"install the package that declares this entry point of {group}, here and on every worker"
        )
    return imported(declared[name].value)
