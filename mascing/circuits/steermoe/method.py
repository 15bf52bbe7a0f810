"""The entry of `steermoe` in the table of methods."""

from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.steermoe.search import NAME, candidates
from mascing.schemas.settings.method_settings import SteerMoEConfig


def _search(material: Material, config: SteerMoEConfig) -> Proposal:
    return Proposal(candidates(material.traces, material.spec, config))


STEERMOE = Method(NAME, SteerMoEConfig, _search, version=2, rank=0, judges=False)
