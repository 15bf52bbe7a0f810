"""The table of methods is whole: what the configuration can name is searched for and has a look."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.methods import METHODS, Search, method_identity, searches_of
from mascing.errors import ConfigError, DataError, MascingError, MaskError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.report.looks import LOOKS
from mascing.routers.spec import RouterSpec
from mascing.schemas.settings.method_settings import MethodsConfig, RandomConfig

CONTROL = "random"
FIELDS = set(MethodsConfig.model_fields)


def test_every_method_of_the_configuration_has_a_row_and_a_look() -> None:
    assert METHODS.keys() == FIELDS - {CONTROL}
    assert LOOKS.keys() == FIELDS | {"baseline"}
    assert all(LOOKS[name].axes for name in METHODS)


def test_the_row_of_a_method_is_that_of_its_settings() -> None:
    settings = MethodsConfig().searched
    assert {name: method.config for name, method in METHODS.items()} == {
        name: type(value) for name, value in settings.items()
    }
    assert all(method.name == name for name, method in METHODS.items())


def test_the_longest_searches_start_first() -> None:
    ranked = sorted(METHODS, key=lambda name: METHODS[name].rank, reverse=True)
    assert ranked == ["active", "mascing", "gradient", "steermoe"]


def test_only_what_is_on_is_searched_and_identified() -> None:
    config = MethodsConfig(mascing=None, active=None)
    assert list(searches_of(config)) == ["steermoe", "gradient"]
    assert method_identity(config)["versions"] == {"steermoe": 1, "gradient": 1}
    assert not any(search.method.judges for search in searches_of(config).values())
    assert searches_of(MethodsConfig())["active"].method.judges


SPEC = RouterSpec("olmoe", (0, 1), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)
FOREIGN = Candidate("m", {}, Mask.from_bias(torch.ones(2, 4), replace(SPEC, fingerprint="e" * 64)))


@pytest.mark.parametrize(
    ("proposal", "error", "message"),
    [
        (Proposal([]), DataError, "method mine proposed no candidate mask"),
        (Proposal([FOREIGN]), MaskError, "method mine proposed a mask for another model"),
        ([FOREIGN], ConfigError, "its search must return a Proposal"),
    ],
)
def test_a_proposal_that_no_later_stage_could_use_is_refused(
    proposal: Any, error: type[MascingError], message: str
) -> None:
    search = Search("mine", Method("m", RandomConfig, lambda material, config: proposal), RandomConfig())
    with pytest.raises(error, match=message):
        search(cast(Material, SimpleNamespace(spec=SPEC)))
