"""Load the configuration of a run."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mascing.catalogue.resolving import resolved
from mascing.configuring.located import located
from mascing.configuring.mistakes import message
from mascing.configuring.yaml_file import read_mapping, read_yaml
from mascing.errors import ConfigError
from mascing.judges.calibrations.calibration import checked_judge
from mascing.plugins import OptionsError
from mascing.schemas.config import RunConfig
from mascing.validation import complaints

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: str) -> RunConfig:
    """Read a run configuration.

    Imports the user's own judges and methods, checks their options and fills in the defaults. Relative paths are those
    of the file's folder, and become absolute. Raises ConfigError, whose message names the field, a right value and the
    file, for instance ``methods.mascing.alphas.0: must be greater than 0, got -1 (in run.yaml)``.
    """
    return run_config(read_mapping(path, "model, behaviour, …", "a run needs at least `model` and `behaviour`"), path)


def run_config(value: dict[str, Any], path: str) -> RunConfig:
    """The configuration of a run from the settings that stand in the file at ``path``. Raises ConfigError."""
    return _with_plugins(located(parsed(resolved(value, path, read_yaml), RunConfig, path), path), path)


def parsed(value: dict[str, Any], model: type[Model], path: str) -> Model:
    """The settings in the file at ``path`` as a model. Raises ConfigError, which names each wrong field."""
    try:
        # Strict validation of JSON accepts a list as a tuple, but not "3" as a number or `yes` as 1.
        return model.model_validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(message(complaints(error, model), path)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds a value that is not plain YAML: {error}") from error


def _with_plugins(config: RunConfig, path: str) -> RunConfig:
    """Return the configuration with the options of every plug-in checked and their defaults filled in."""
    problems: list[str] = []
    judges = {
        name: _completed(checked_judge, getattr(config.behaviour, name), f"behaviour.{name}", problems)
        for name in ("target", "utility", "protected")
    }
    own = {
        name: _completed(checked_judge, judge, f"behaviour.judges.{name}", problems)
        for name, judge in config.behaviour.judges.items()
    }
    methods = {}
    if config.methods.plugged:
        # Imported here: it loads torch, which takes seconds and which no other configuration needs.
        from mascing.circuits.methods import completed_method

        methods = {
            name: _completed(completed_method, settings, f"methods.{name}", problems)
            for name, settings in config.methods.plugged.items()
        }
    if problems:
        raise ConfigError(message(problems, path))
    behaviour = config.behaviour.model_copy(update={**judges, "judges": own})
    return config.model_copy(update={"behaviour": behaviour, "methods": config.methods.model_copy(update=methods)})


def _completed(complete: Callable[[Any], Any], config: Any, field: str, problems: list[str]) -> Any:
    """Return ``complete(config)``, or add what is wrong with the config to ``problems`` and return it as it is."""
    try:
        return complete(config)
    except OptionsError as error:
        problems += [f"{field}.{complaint}" for complaint in error.complaints]
    except ConfigError as error:
        problems.append(f"{field}.kind: {error}")
    return config
