"""The entry of `mascing` in the table of methods."""

from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.surrogate_search.search import NAME, candidates
from mascing.schemas.settings.method_settings import MascingConfig


def _search(material: Material, config: MascingConfig) -> Proposal:
    surrogates = material.surrogates(config.spans)
    return Proposal(candidates(surrogates, material.traces, material.spec, material.sigma_L, config, material.seed))


MASCING = Method(NAME, MascingConfig, _search, version=2, rank=3, judges=False, per_member=True)
