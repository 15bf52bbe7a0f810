"""Given replies decide which candidates enter the race or, without them, a first look at replies does."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import RunConfig
from mascing.tasks.picking.foretell import foretell
from tests.small_run import small_config
from tests.tasks.picking.planted_pick import CountingPool, dev_conversations, jury_of, without_margin

STRENGTHS = (0.01, 0.02, 0.03, 4.0)


@pytest.mark.parametrize("given", [True, False])
def test_the_strong_candidate_and_the_best_of_the_idle_search_seed_enter(
    testbed_folder: Path, tmp_path: Path, given: bool
) -> None:
    config: RunConfig = small_config(testbed_folder, tmp_path)
    pool, conversations = CountingPool(), dev_conversations(config)
    assert config.behaviour.truth is not None
    truth_LE, spec = load_file(config.behaviour.truth)["bias"], inspect_routers(pool.worker.model(config.model).model)
    candidates = [
        Candidate("mascing", {"alpha": alpha, "search_seed": seed}, Mask.from_bias(alpha * truth_LE, spec))
        for seed, alphas in enumerate((STRENGTHS, STRENGTHS[:2]))
        for alpha in alphas
    ]
    conversations = conversations if given else without_margin(conversations)
    foretold = foretell(jury_of(pool, config, tmp_path / "storage", conversations), candidates)
    entrants = foretold.entrants["mascing"]
    assert 3 in entrants
    assert {4, 5} & set(entrants)
    assert len(entrants) < len(candidates)
    assert (foretold.tokens > 0, "target" in foretold.rates[0]) == (True, given)
    # The masks of the second seed are two of the first one's: their replies are the same, and generated once.
    looked = [
        len(foretold.looks[number]) for number in foretold.looks if number is not None and number < len(STRENGTHS)
    ]
    assert pool.replies == sum(looked)
    assert (pool.replies == 0) is given
    assert set(foretold.looks) == (set() if given else set(range(6)))
