"""The row of `gradient` in the table of methods."""

from mascing.circuits.gradient.search import NAME, candidates
from mascing.circuits.method import Material, Method, Proposal
from mascing.engines import likelihood
from mascing.schemas.methods import GradientConfig
from mascing.schemas.search_cost import Passes, SearchCost


def _search(material: Material, config: GradientConfig) -> Proposal:
    found, counted = candidates(
        material.model(),
        material.spec,
        material.contrast,
        [asked for asked in material.conversations if asked.set != "target" and asked.wanted is not None],
        material.sigma_L,
        config,
        material.seed,
        recompute=material.recompute,
    )
    passes = passes_of(counted, material.recompute)
    return Proposal(found, SearchCost(passes=passes), f"{NAME}: {passes}")


def passes_of(counted: likelihood.Passes, recompute: bool) -> Passes:
    """The passes without the second forward that recomputing the layers takes."""
    forward = counted.forward // 2 if recompute else counted.forward
    return Passes(forward=forward, backward=counted.backward, conversations=counted.conversations)


GRADIENT = Method(NAME, GradientConfig, _search, version=1, rank=2, judges=False)
