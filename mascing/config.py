"""Run configurations: YAML in, a frozen RunConfig out, or one clear error."""

import json
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mascing.errors import ConfigError
from mascing.judges.table import completed_judge
from mascing.plugins import OptionsError
from mascing.schemas.config import RunConfig
from mascing.validation import complaints

_SHOWN = 5


def load_config(path: str) -> RunConfig:
    """Read a run configuration.

    Raises ConfigError that names the field, what would be right and the file, for instance
    ``methods.mascing.alphas.0: must be greater than 0, got -1 (in run.yaml)``. Judges and methods of the user's own are
    imported, and their options checked and completed by their defaults.
    """
    value = _parse(_read(path), path)
    if value is None:
        raise ConfigError(f"{path} is empty: a run needs at least `model` and `behaviour`")
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a mapping with the keys model, behaviour, …, not {type(value).__name__}")
    return _with_plugins(_parsed(value, path), path)


def _parsed(value: dict[str, Any], path: str) -> RunConfig:
    try:
        # Through JSON and strict: a list is a tuple there, but "3" is no number and `yes` is no 1.
        return RunConfig.model_validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_message(complaints(error, RunConfig), path)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds something that is no plain YAML value: {error}") from error


def _with_plugins(config: RunConfig, path: str) -> RunConfig:
    """The configuration with the options of every plug-in checked, and completed by their defaults."""
    said: list[str] = []
    judges = {
        name: _completed(completed_judge, getattr(config.behaviour, name), f"behaviour.{name}", said)
        for name in ("target", "utility", "protected")
    }
    methods = {}
    if config.methods.plugged:
        # Here, because it takes seconds to import torch and no other configuration needs it.
        from mascing.circuits.methods import completed_method

        methods = {
            name: _completed(completed_method, settings, f"methods.{name}", said)
            for name, settings in config.methods.plugged.items()
        }
    if said:
        raise ConfigError(_message(said, path))
    behaviour = config.behaviour.model_copy(update=judges)
    return config.model_copy(update={"behaviour": behaviour, "methods": config.methods.model_copy(update=methods)})


def _completed(complete: Callable[[Any], Any], config: Any, field: str, said: list[str]) -> Any:
    """What ``complete`` makes of the config; what is wrong with it goes into ``said``."""
    try:
        return complete(config)
    except OptionsError as error:
        said += [f"{field}.{complaint}" for complaint in error.said]
    except ConfigError as error:
        said.append(f"{field}.kind: {error}")
    return config


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file: give the path of a run configuration (YAML)") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder: give the path of a run configuration (YAML)") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: a run configuration is a YAML file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): check the path and its permissions") from error


def _parse(text: str, path: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{path} is not valid YAML: {where}{problem}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def _message(said: list[str], path: str) -> str:
    more = f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return f"{'; '.join(said[:_SHOWN])}{more} (in {path})"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-5 as a number, which YAML 1.1 takes for text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping whose keys are all different."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given more than once", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
