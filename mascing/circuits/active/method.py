"""The entry of `active` in the table of methods."""

from mascing.circuits.active.learner import NAME
from mascing.circuits.active.search import candidates, go_on
from mascing.circuits.active.trials import LocalEngine
from mascing.circuits.method import Material, Method, Proposal
from mascing.schemas.settings.method_settings import ActiveConfig


def _search(material: Material, config: ActiveConfig) -> Proposal:
    return candidates(
        LocalEngine(material.model(), material.behaviour, material.generation),
        material.traces,
        material.conversations,
        material.spec,
        material.sigma_L,
        config,
        material.seed,
    )


ACTIVE = Method(NAME, ActiveConfig, _search, version=1, rank=4, judges=True, go_on=go_on)
