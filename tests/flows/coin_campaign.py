"""A small campaign on a tiny model whose replies a coin judges: it takes seconds, and means nothing."""

import json
from pathlib import Path
from typing import Any

from tests.coin_run import COIN, written
from tests.mascing import olmoe_folder


def parts_in(folder: Path) -> dict[str, Any]:
    """A campaign of a model, a behaviour, a method and two seeds, whose judge is a coin."""
    run = json.loads(Path(written(folder, olmoe_folder.save(folder / "model"), COIN)).read_text())
    return {
        "name": "coins",
        "models": {"tiny": {"model": run["model"]}},
        "behaviours": {"b": {"behaviour": run["behaviour"]}},
        "methods": {"steermoe": {"n_activated": [1]}},
        "seeds": [0, 1],
        "allow_failing_judges": True,  # a coin takes an empty reply for a hit
        "shared": {"generation": {"max_new_tokens": 3}, "splits": run["splits"], "allow_unpublishable": True},
    }
