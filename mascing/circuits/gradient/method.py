"""The entries of `gradient` and `refined` in the table of methods."""

from torch import Tensor

from mascing.circuits.gradient.contrast_start import contrast_start
from mascing.circuits.gradient.search import NAME, candidates
from mascing.circuits.method import Material, Method, Proposal
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.settings.method_settings import GradientConfig, RefinedConfig

REFINED_NAME = "refined"


def _search(material: Material, config: GradientConfig) -> Proposal:
    return _descended(NAME, material, config, None)


def _refine(material: Material, config: RefinedConfig) -> Proposal:
    start_LE = config.start * contrast_start(material.traces, material.sigma_L)
    return _descended(REFINED_NAME, material, config, start_LE)


def _descended(name: str, material: Material, config: GradientConfig, start_LE: Tensor | None) -> Proposal:
    found = candidates(
        material.model(),
        material.spec,
        material.contrast,
        material.conversations,
        material.sigma_L,
        config,
        material.seed,
        name=name,
        start_LE=start_LE,
        compute=material.compute,
    )
    note = f"{name}: {found.passes}" + (f"; {found.memory}" if found.memory else "")
    return Proposal(found.candidates, SearchCost(passes=found.passes), note)


GRADIENT = Method(NAME, GradientConfig, _search, version=2, rank=2, judges=False)
REFINED = Method(REFINED_NAME, RefinedConfig, _refine, version=3, rank=2, judges=False)
