"""Load a campaign, and put together the configuration of each of its runs."""

import os
from importlib.resources import files
from pathlib import Path

import mascing.campaigns
from mascing.campaigns.grid import pairs, settings_of
from mascing.configuring.located import beside, model_beside
from mascing.configuring.mistakes import message
from mascing.configuring.run_file import parsed, run_config
from mascing.configuring.yaml_file import read_mapping
from mascing.errors import ConfigError
from mascing.schemas.campaign import Campaign, CampaignConfig, Part, PlannedRun


def load_campaign(path: str) -> Campaign:
    """Read a campaign and put together the configuration of each of its runs.

    ``path`` may be the name of a campaign that comes with mascing, such as ``steermoe``. Relative paths are those of
    the file's folder. Raises ConfigError, whose message names the run, the field and a right value.
    """
    path = _campaign_file(path)
    needs = "a campaign needs `name`, `models`, `behaviours` and `methods`"
    config = _with_located_parts(parsed(read_mapping(path, "name, models, …", needs), CampaignConfig, path), path)
    runs, problems = [], []
    for model, behaviour in pairs(config):
        try:
            run = run_config(settings_of(config, model, behaviour), path)
        except ConfigError as error:
            problems.append(f"{behaviour} on {model}: {str(error).removesuffix(f' (in {path})')}")
            continue
        for seed in config.seeds:
            planned = run.model_copy(update={"seed": seed})
            runs.append(PlannedRun(model=model, behaviour=behaviour, seed=seed, config=planned))
    if problems:
        raise ConfigError(message(problems, path))
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
    for section, names, absolute in (
        ("model", ("path",), model_beside),
        ("behaviour", ("conversations", "truth", "file"), beside),
    ):
        settings = part.get(section)
        if isinstance(settings, dict):
            found = {
                name: absolute(path, f"{section}.{name}", value)
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
