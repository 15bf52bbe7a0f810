"""The table of methods is whole: what the configuration can name is searched for and has a look."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.methods import METHODS, Search, method_identity, searches_of, together
from mascing.errors import ConfigError, DataError, MascingError, MaskError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.report.looks import LOOKS
from mascing.routers.spec import RouterSpec
from mascing.schemas.base import Frozen
from mascing.schemas.cards.search_cost import Passes, Round, SearchCost, Trials
from mascing.schemas.config import ComputeConfig
from mascing.schemas.settings.method_settings import MethodsConfig, RandomConfig
from mascing.surrogates.ensemble import member_seeds

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
    assert ranked == ["active", "mascing", "gradient", "refined", "consensus", "steermoe"]


def test_only_what_is_on_is_searched_and_identified() -> None:
    config = MethodsConfig(mascing=None, consensus=None, refined=None, active=None)
    assert list(searches_of(config)) == ["steermoe", "gradient"]
    assert method_identity(config)["versions"] == {"steermoe": 2, "gradient": 2}
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
        search(material())


class Seeded(Frozen):
    search_seeds: int = 3


def seen(material: Material, config: Any) -> Proposal:
    """One mask, whose cell says which seed and which surrogates the search got."""
    del config
    members = [int(member) for member in cast(Any, material.surrogates(("question",))["question"])]
    passes = Passes(forward=2, backward=1, conversations=8)
    candidate = Candidate("m", {"got": [material.seed, members]}, Mask.from_bias(torch.ones(2, 4), SPEC))
    return Proposal([candidate], SearchCost(passes=passes), "m: some passes")


@pytest.mark.parametrize(
    ("method", "config", "got"),
    [
        (Method("m", RandomConfig, seen), RandomConfig(), [[7, [0, 1]]]),
        (Method("m", Seeded, seen), Seeded(), [[seed, [0, 1]] for seed in member_seeds(7, 3)]),
        (
            Method("m", RandomConfig, seen, per_member=True),
            RandomConfig(),
            [[seed, [n]] for n, seed in enumerate(member_seeds(7, 2))],
        ),
    ],
)
def test_each_search_seed_is_a_search_of_its_own(method: Method, config: Any, got: list[Any]) -> None:
    search = Search("mine", method, config)
    n = search.seeds(members=2)
    proposals = [search(material(), number, n) for number in range(n)]
    found = together(proposals)
    assert [candidate.cell["got"] for candidate in found.candidates] == got
    several = n > 1
    assert [candidate.cell.get("search_seed") for candidate in found.candidates] == (
        list(range(n)) if several else [None]
    )
    assert [candidate.mask.provenance for candidate in found.candidates] == [
        {"search_seed": number} if several else {} for number in range(n)
    ]
    assert found.cost.passes == Passes(forward=2 * n, backward=n, conversations=8)
    assert found.note == "m: some passes" + (
        f"; so with each of {n} search seeds, {n} times that in all" if several else ""
    )


def test_the_trials_of_all_search_seeds_are_counted() -> None:
    rounds = [Round(generations=n, changed=0.5, kept=None) for n in (3, 4, 5)]
    costs = [
        SearchCost(trials=Trials(budget=8, generations=7, rounds=tuple(rounds[:2]))),
        SearchCost(trials=Trials(budget=5, generations=5, rounds=tuple(rounds[2:]))),
    ]
    assert SearchCost.of_all(costs).trials == Trials(budget=13, generations=12, rounds=tuple(rounds))
    assert SearchCost.of_all([SearchCost()]) == SearchCost()


def material() -> Material:
    """What the searches of these tests look at: a seed, and ensembles of two members, which are their numbers."""
    nothing: Any = None
    return Material(
        model=nothing,
        conversations=(),
        contrast=(),
        traces=nothing,
        spec=SPEC,
        sigma_L=torch.ones(2),
        surrogates=lambda spans: {span: cast(Any, [0, 1]) for span in spans},
        behaviour=nothing,
        generation=nothing,
        seed=7,
        compute=ComputeConfig(),
    )
