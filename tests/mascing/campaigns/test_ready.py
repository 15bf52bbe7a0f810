"""The campaigns that come with mascing: those of the two papers."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.campaigns.grid import pairs, settings_of
from mascing.config import load_campaign, ready_campaigns
from mascing.errors import ConfigError
from mascing.schemas.campaign import CampaignConfig
from mascing.schemas.config import RunConfig

SIZES = {"mascing-table": (7, 2), "steermoe-table": (6, 9)}


def config(name: str) -> CampaignConfig:
    return CampaignConfig.model_validate(yaml.safe_load(Path(ready_campaigns()[name]).read_text()))


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with an ordinary behaviour in place of the catalogue's."""
    refusal = {"kind": "refusal"}
    behaviour = {"name": settings["behaviour"]["name"], "conversations": "c.jsonl"}
    judged = dict.fromkeys(("target", "utility", "protected"), refusal)
    return {**settings, "behaviour": {**behaviour, **judged}}


def test_they_are_those_that_the_help_names() -> None:
    assert set(ready_campaigns()) == set(SIZES)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_each_has_the_models_and_behaviours_of_its_paper_and_settings_that_can_run(name: str) -> None:
    found = config(name)
    assert (len(found.models), len(found.behaviours)) == SIZES[name]
    for model, behaviour in pairs(found):
        RunConfig.model_validate(plain(settings_of(found, model, behaviour)))
    assert all(number.source.startswith("arXiv:") for number in found.published)


def test_every_behaviour_is_in_the_catalogue() -> None:
    assert len(load_campaign("steermoe-table").runs) == 6 * 9 * 2


def test_the_content_policy_asks_its_operator_to_opt_in() -> None:
    with pytest.raises(ConfigError) as error:
        load_campaign("mascing-table")
    assert str(error.value).startswith("adult-content on every model: behaviour.opt_in: ")
    assert "copy it, change the copy" in str(error.value)
    assert "jailbreak-defence" not in str(error.value)
