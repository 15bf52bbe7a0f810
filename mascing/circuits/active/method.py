"""The row of `active` in the table of methods."""

from dataclasses import asdict

from mascing.circuits.active.search import NAME, candidates
from mascing.circuits.active.trials import LocalEngine
from mascing.circuits.method import Material, Method, Proposal
from mascing.schemas.methods import ActiveConfig
from mascing.schemas.search_cost import Round, SearchCost, Trials


def _search(material: Material, config: ActiveConfig) -> Proposal:
    found = candidates(
        LocalEngine(material.model(), material.behaviour, material.generation),
        material.traces,
        material.conversations,
        material.spec,
        material.sigma_L,
        config,
        material.seed,
    )
    trials = Trials(
        budget=config.budget,
        generations=found.generations,
        rounds=tuple(Round(**asdict(each)) for each in found.rounds),
    )
    return Proposal(found.candidates, SearchCost(trials=trials), found.told(config))


ACTIVE = Method(NAME, ActiveConfig, _search, version=1, rank=4, judges=True)
