"""Load the configurations of runs and campaigns: YAML in, a frozen model or one clear error out."""

import json
import os
import re
from collections.abc import Callable, Hashable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

import mascing.campaigns
from mascing.campaigns.grid import named, pairs, settings_of
from mascing.catalogue.resolving import resolved
from mascing.errors import ConfigError, DataError
from mascing.judges.calibrations.calibration import checked_judge
from mascing.models.checkpoints import is_hub_id
from mascing.plugins import OptionsError
from mascing.schemas.campaign import Campaign, CampaignConfig, Part, PlannedRun
from mascing.schemas.catalogue.sources import SourceConfig
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.judge_paths import with_paths
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.storage.sealing import check_text
from mascing.validation import REQUIRED, complaints

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 5


def load_config(path: str) -> RunConfig:
    """Read a run configuration.

    Imports the user's own judges and methods, checks their options and fills in the defaults. Relative paths are those
    of the file's folder, and become absolute. Raises ConfigError, whose message names the field, a right value and the
    file, for instance ``methods.mascing.alphas.0: must be greater than 0, got -1 (in run.yaml)``.
    """
    return _run_config(_mapping(path, "model, behaviour, …", "a run needs at least `model` and `behaviour`"), path)


def load_campaign(path: str) -> Campaign:
    """Read a campaign and put together the configuration of each of its runs.

    ``path`` may be the name of a campaign that comes with mascing, such as ``steermoe``. Relative paths are those of
    the file's folder. Raises ConfigError, whose message names the run, the field and a right value.
    """
    given, path = path, _campaign_file(path)
    needs = "a campaign needs `name`, `models`, `behaviours` and `methods`"
    config = _with_located_parts(_parsed(_mapping(path, "name, models, …", needs), CampaignConfig, path), path)
    runs: list[PlannedRun] = []
    problems: dict[str, set[tuple[str, str]]] = {}
    for model, behaviour in pairs(config):
        try:
            run = _run_config(settings_of(config, model, behaviour), path)
        except ConfigError as error:
            problems.setdefault(str(error).removesuffix(f" (in {path})"), set()).add((model, behaviour))
            continue
        for seed in config.seeds:
            planned = run.model_copy(update={"seed": seed})
            runs.append(PlannedRun(model=model, behaviour=behaviour, seed=seed, config=planned))
    if problems:
        told = _message([f"{named(config, tasks)}: {problem}" for problem, tasks in problems.items()], path)
        copied = "" if given == path else "; it comes with mascing: copy it, change the copy, and start that"
        raise ConfigError(f"{told}{copied}")
    return Campaign(config=config, runs=tuple(runs))


def _with_located_parts(config: CampaignConfig, path: str) -> CampaignConfig:
    """The campaign with absolute paths, so that it can be kept in another folder."""
    return config.model_copy(
        update={
            "models": {name: _located_part(part, path) for name, part in config.models.items()},
            "behaviours": {name: _located_part(part, path) for name, part in config.behaviours.items()},
            "shared": _located_part(config.shared, path),
        }
    )


def _located_part(part: Part, path: str) -> Part:
    located = dict(part)
    for section, names, beside in (
        ("model", ("path",), _model_beside),
        ("behaviour", ("conversations", "truth", "file"), _beside),
    ):
        settings = part.get(section)
        if isinstance(settings, dict):
            found = {
                name: beside(path, f"{section}.{name}", value)
                for name in names
                if isinstance(value := settings.get(name), str)
            }
            located[section] = {**settings, **found}
    return located


def ready_campaigns() -> dict[str, str]:
    """The paths of the campaigns that come with mascing, by name."""
    folder = files(mascing.campaigns) / "ready"
    return {Path(str(file)).stem: str(file) for file in folder.iterdir() if file.name.endswith(".yaml")}


def _campaign_file(path: str) -> str:
    return path if os.path.exists(path) else ready_campaigns().get(path, path)


def _run_config(value: dict[str, Any], path: str) -> RunConfig:
    return _with_plugins(_located(_parsed(resolved(value, path, read_yaml), RunConfig, path), path), path)


def _mapping(path: str, keys: str, needs: str) -> dict[str, Any]:
    value = read_yaml(path)
    if value is None:
        raise ConfigError(f"{path} is empty: {needs}")
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a mapping with the keys {keys}, not {type(value).__name__}")
    return value


def read_yaml(path: str) -> Any:
    """The value of a YAML file. Raises ConfigError, which says where it is none."""
    return _parse(_read(path), path)


def _parsed(value: dict[str, Any], model: type[Model], path: str) -> Model:
    try:
        # Strict validation of JSON accepts a list as a tuple, but not "3" as a number or `yes` as 1.
        return model.model_validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_message(complaints(error, model), path)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds a value that is not plain YAML: {error}") from error


def _located(config: RunConfig, path: str) -> RunConfig:
    """Return the configuration with absolute paths in place of those that are relative to the file."""
    behaviour, model = config.behaviour, config.model
    files: dict[str, Any] = {"conversations": _located_rows(behaviour.conversations, path)}
    if behaviour.truth is not None:
        files["truth"] = _beside(path, "behaviour.truth", behaviour.truth)
    judges: dict[str, Any] = {
        name: _located_judge(getattr(behaviour, name), f"behaviour.{name}", path)
        for name in ("target", "utility", "protected")
    }
    judges["judges"] = {
        name: _located_judge(judge, f"behaviour.judges.{name}", path) for name, judge in behaviour.judges.items()
    }
    return config.model_copy(
        update={
            "behaviour": behaviour.model_copy(update={**files, **judges}),
            "model": model.model_copy(update={"path": _model_beside(path, "model.path", model.path)}),
        }
    )


def _located_judge(judge: JudgeConfig, place: str, path: str) -> JudgeConfig:
    def moved(field: str, value: str) -> str:
        beside = _model_beside if field.endswith("model.path") else _beside
        return beside(path, f"{place}.{field}", value)

    return with_paths(judge, moved)


def _model_beside(path: str, field: str, value: str) -> str:
    """The same for a model, which may also be a hub id."""
    folder = _beside(path, field, value)
    return value if is_hub_id(value) and not Path(folder).is_dir() else folder


def _located_rows(conversations: str | tuple[SourceConfig, ...], path: str) -> str | tuple[SourceConfig, ...]:
    if isinstance(conversations, str):
        return _beside(path, "behaviour.conversations", conversations)
    return tuple(
        source
        if source.file is None
        else source.model_copy(update={"file": _beside(path, f"behaviour ({source.name}): file", source.file)})
        for source in conversations
    )


def _beside(path: str, field: str, value: str) -> str:
    """A path relative to the file as an absolute one; URLs, absolute paths and those of a home folder as they are.

    Raises ConfigError if the path leads somewhere from the working directory alone.
    """
    if "://" in value or value.startswith("~") or os.path.isabs(value):
        return value
    folder = os.path.dirname(os.path.abspath(path))
    found = os.path.abspath(os.path.join(folder, value))
    if not os.path.exists(found) and os.path.exists(value):
        raise ConfigError(
            f"{field}: there is no {found}: paths are relative to {path}, so write {os.path.relpath(value, folder)}"
        )
    return found


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
        raise ConfigError(_message(problems, path))
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


def _read(path: str) -> str:
    try:
        data = Path(path).read_bytes()
        check_text(data, path, "restore it, or delete its last line if you edited it")
        return data.decode("utf-8-sig")
    except DataError as error:
        raise ConfigError(str(error)) from error
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


def _message(problems: list[str], path: str) -> str:
    problems = _together(problems)
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{'; '.join(problems[:_SHOWN])}{more} (in {path})"


def _together(problems: list[str]) -> list[str]:
    """The same complaint about several fields once, after the names of all of them."""
    fields: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        field, _, complaint = problem.partition(": ")
        alone = complaint in ("", REQUIRED)  # each field that was forgotten is a mistake of its own
        fields.setdefault((complaint, field if alone else ""), []).append(field)
    return [": ".join(filter(None, (" and ".join(names), complaint))) for (complaint, _), names in fields.items()]


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys and reads 1e-5 as a number; YAML 1.1 reads it as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping and reject duplicate keys."""
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
