"""The table of methods, and the searches that a configuration requests."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel

from mascing.circuits.active.method import ACTIVE
from mascing.circuits.consensus.method import CONSENSUS
from mascing.circuits.gradient.method import GRADIENT, REFINED
from mascing.circuits.method import Asked, Material, Method, Past, Proposal
from mascing.circuits.steermoe.method import STEERMOE
from mascing.circuits.surrogate_search.method import MASCING
from mascing.errors import ConfigError, DataError, MaskError
from mascing.masks.candidates import Candidate
from mascing.plugins import OptionsError, checked, completed, place, resolve, whole_version
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.settings.method_settings import MethodsConfig, PluggedMethod, Span
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import Surrogate

METHODS: Mapping[str, Method] = {
    method.name: method for method in (MASCING, CONSENSUS, STEERMOE, GRADIENT, REFINED, ACTIVE)
}
"""The built-in methods by their name in the configuration."""


@dataclass(frozen=True)
class Search:
    """An enabled method with its settings, under its name in the configuration."""

    name: str
    method: Method
    config: BaseModel

    def seeds(self, members: int) -> int:
        """Return how many search seeds the search runs with, given ``members`` surrogates per ensemble."""
        return members if self.method.per_member else getattr(self.config, "search_seeds", 1)

    def __call__(self, material: Material, number: int = 0, of: int = 1) -> Proposal:
        """Run the method's search with search seed ``number`` of ``of`` and label its candidates.

        Every candidate gets the name of this search and, if there are several seeds, ``search_seed`` in its cell. The
        first search seed is the seed of ``material``.
        """
        return self._finished(self.method.search(self._own(material, number, of), self.config), material, number, of)

    def go_on(self, material: Material, number: int, of: int, state: bytes | None, past: Past) -> Asked | Proposal:
        """The next step of the same search, of a method that goes in steps; see :class:`Method`."""
        assert self.method.go_on is not None
        step = self.method.go_on(self._own(material, number, of), self.config, state, past)
        return step if isinstance(step, Asked) else self._finished(step, material, number, of)

    def _own(self, material: Material, number: int, of: int) -> Material:
        own = replace(material, seed=member_seeds(material.seed, of)[number])
        if self.method.per_member:
            own = replace(own, surrogates=lambda spans: _alone(material.surrogates(spans), number))
        return own

    def _finished(self, proposal: Proposal, material: Material, number: int, of: int) -> Proposal:
        self._refuse_unusable(proposal, material)
        seed = {"search_seed": number} if of > 1 else {}
        return replace(proposal, candidates=[self._labelled(candidate, seed) for candidate in proposal.candidates])

    def _labelled(self, candidate: Candidate, seed: Mapping[str, int]) -> Candidate:
        mask = replace(candidate.mask, provenance={**candidate.mask.provenance, **seed})
        return Candidate(self.name, {**candidate.cell, **seed}, mask)

    def _refuse_unusable(self, proposal: Proposal, material: Material) -> None:
        """A proposal that no later stage could work with must not be stored as the method's result."""
        if not isinstance(proposal, Proposal):
            raise ConfigError(f"method {self.name} returned {proposal!r}: its search must return a Proposal")
        if not proposal.candidates:
            raise DataError(f"method {self.name} proposed no candidate mask: turn it off, or widen its grid")
        if any(candidate.mask.spec != material.spec for candidate in proposal.candidates):
            raise MaskError(f"method {self.name} proposed a mask for another model: make masks with material.spec")


def together(proposals: Sequence[Proposal]) -> Proposal:
    """Join what one method proposed with each of its search seeds, in their order."""
    notes = dict.fromkeys(proposal.note for proposal in proposals if proposal.note)
    each = (
        f"; so with each of {len(proposals)} search seeds, {len(proposals)} times that in all"
        if len(proposals) > 1 and len(notes) == 1
        else ""
    )
    return Proposal(
        [candidate for proposal in proposals for candidate in proposal.candidates],
        SearchCost.of_all(proposal.cost for proposal in proposals),
        "; ".join(notes) + each,
    )


def searches_of(config: MethodsConfig) -> dict[str, Search]:
    """Return the search of every enabled method by name, in the order of the configuration.

    Raises ConfigError if one of the user's own methods does not exist, and OptionsError if it rejects its options.
    """
    return {
        name: _plugged(name, settings) if isinstance(settings, PluggedMethod) else Search(name, METHODS[name], settings)
        for name, settings in config.searched.items()
    }


def completed_method(config: PluggedMethod) -> PluggedMethod:
    """Check the config's options and fill in their defaults. Raises the errors of `searches_of`."""
    search = _plugged("", config)
    values = completed(config.kind, search.method.config, config.options)
    if not set(values.get("spans", ())) <= set(get_args(Span)) or isinstance(values.get("spans"), str):
        raise OptionsError(f"spans: must be a list of {', '.join(get_args(Span))}")
    return PluggedMethod.model_validate({**values, "kind": config.kind})


def method_identity(config: MethodsConfig) -> dict[str, Any]:
    """Return all that determines what the searches find in given material: settings and versions by name, in JSON."""
    searches = searches_of(config)
    plugged = {
        name: {"kind": settings.kind, "search": place(searches[name].method.search)}
        for name, settings in config.plugged.items()
    }
    return {
        "methods": {
            name: {**search.config.model_dump(mode="json"), **plugged.get(name, {})}
            for name, search in searches.items()
        },
        "versions": {name: search.method.version for name, search in searches.items()},
    }


def _alone(ensembles: Mapping[Span, Sequence[Surrogate]], number: int) -> dict[Span, Sequence[Surrogate]]:
    """Only the member ``number`` of each ensemble."""
    return {span: [members[number]] for span, members in ensembles.items()}


def _plugged(name: str, settings: PluggedMethod) -> Search:
    """The search of a user's method, or of a built-in one that runs once more under another name."""
    kind = settings.kind
    method = METHODS[kind] if kind in METHODS else resolve(kind, "mascing.methods", METHODS)
    if not isinstance(method, Method):
        raise ConfigError(f"{kind!r} is not a method: it must be a mascing.circuits.method.Method")
    if not (isinstance(method.config, type) and issubclass(method.config, BaseModel)):
        raise ConfigError(f"the config of {kind!r} must be a pydantic model, not {method.config!r}")
    try:
        inspect.signature(method.search).bind(None, None)
    except TypeError as error:
        raise ConfigError(f"the search of {kind!r} must take the material and the method's config: {error}") from error
    whole_version(kind, method.version)
    return Search(name, method, checked(method.config, settings.options))
