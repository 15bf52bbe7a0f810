"""Load a campaign, and put together the configuration of each of its runs."""

import os
from importlib.resources import files
from pathlib import Path

import mascing.campaigns
from mascing.campaigns.grid import named, pairs, settings_of
from mascing.configuring.campaign_parts import with_located_parts
from mascing.configuring.mistakes import message
from mascing.configuring.run_file import parsed, run_config
from mascing.configuring.yaml_file import read_mapping
from mascing.errors import ConfigError
from mascing.schemas.campaign import Campaign, CampaignConfig, PlannedRun


def load_campaign(path: str) -> Campaign:
    """Read a campaign and put together the configuration of each of its runs.

    ``path`` may be the name of a campaign that comes with mascing, such as ``steermoe``. Relative paths are those of
    the file's folder. Raises ConfigError, whose message names the run, the field and a right value.
    """
    campaign, mistakes = read_campaign(path)
    if mistakes:
        file = campaign_file(path)
        copied = "" if file == path else "; it comes with mascing: copy it, change the copy, and start that"
        raise ConfigError(f"{message(mistakes, file)}{copied}")
    return campaign


def read_campaign(path: str) -> tuple[Campaign, list[str]]:
    """The campaign with the runs that can be configured, and a sentence on each mistake that keeps others out.

    Raises ConfigError if no run can be configured.
    """
    path = campaign_file(path)
    needs = "a campaign needs `name`, `models`, `behaviours` and `methods`"
    config = with_located_parts(parsed(read_mapping(path, "name, models, …", needs), CampaignConfig, path), path)
    runs: list[PlannedRun] = []
    problems: dict[str, set[tuple[str, str]]] = {}
    for model, behaviour in pairs(config):
        try:
            run = run_config(settings_of(config, model, behaviour), path)
        except ConfigError as error:
            problems.setdefault(str(error).removesuffix(f" (in {path})"), set()).add((model, behaviour))
            continue
        for seed in config.seeds:
            planned = run.model_copy(update={"seed": seed})
            runs.append(PlannedRun(model=model, behaviour=behaviour, seed=seed, config=planned))
    mistakes = [f"{named(config, tasks)}: {problem}" for problem, tasks in problems.items()]
    if not runs:
        raise ConfigError(message(mistakes, path))
    return Campaign(config=config, runs=tuple(runs)), mistakes


def ready_campaigns() -> dict[str, str]:
    """The paths of the campaigns that come with mascing, by name."""
    folder = files(mascing.campaigns) / "ready"
    return {Path(str(file)).stem: str(file) for file in folder.iterdir() if file.name.endswith(".yaml")}


def campaign_file(path: str) -> str:
    """The file of this path, or of the campaign of this name that comes with mascing."""
    return path if os.path.exists(path) else ready_campaigns().get(path, path)
