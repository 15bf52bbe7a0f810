"""The entry of `consensus` in the table of methods."""

from mascing.circuits.consensus.search import NAME, candidates
from mascing.circuits.method import Material, Method, Proposal
from mascing.schemas.settings.method_settings import ConsensusConfig


def _search(material: Material, config: ConsensusConfig) -> Proposal:
    surrogates = material.surrogates(config.spans)
    return candidates(surrogates, material.traces, material.spec, material.sigma_L, config)


CONSENSUS = Method(NAME, ConsensusConfig, _search, version=1, rank=1, judges=False)
