"""The entry of `gradient` in the table of methods."""

from mascing.circuits.gradient.search import NAME, candidates
from mascing.circuits.method import Material, Method, Proposal
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.settings.method_settings import GradientConfig


def _search(material: Material, config: GradientConfig) -> Proposal:
    proposed, passes = candidates(
        material.model(),
        material.spec,
        material.contrast,
        [
            conversation
            for conversation in material.conversations
            if conversation.set != "target" and conversation.wanted is not None
        ],
        material.sigma_L,
        config,
        material.seed,
        recompute=material.recompute,
    )
    return Proposal(proposed, SearchCost(passes=passes), f"{NAME}: {passes}")


GRADIENT = Method(NAME, GradientConfig, _search, version=1, rank=2, judges=False)
