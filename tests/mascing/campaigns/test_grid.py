"""Pairs of a model and a behaviour, named in few words."""

import pytest

from mascing.campaigns.grid import named
from mascing.schemas.campaign import CampaignConfig

CONFIG = CampaignConfig.model_validate(
    {"name": "four", "models": {"a": {}, "b": {}}, "behaviours": {"x": {}, "y": {}}, "methods": {"steermoe": {}}}
)


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ("ax ay bx by", "all runs"),
        ("ax ay", "a with every behaviour"),
        ("ay by", "y on every model"),
        ("ay", "y on a"),
        ("ax ay by", "x on a, y on a, y on b"),
    ],
)
def test_whole_models_and_behaviours_are_named_as_such(tasks: str, name: str) -> None:
    assert named(CONFIG, {(task[0], task[1]) for task in tasks.split()}) == name
